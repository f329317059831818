mod files;
mod fixtures;
mod hostile;
pub(crate) mod made;
mod names;
