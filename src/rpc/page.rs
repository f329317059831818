//! Pages of lists.

use super::error::Refusal;
use super::reason::Reason;

const DEFAULT_SIZE: usize = 100;
const MAX_SIZE: usize = 1_000;

/// The items on a page that asks for `page_size`; zero leaves it to the server.
pub fn size(page_size: u32) -> Result<usize, Refusal> {
    match page_size as usize {
        0 => Ok(DEFAULT_SIZE),
        size if size <= MAX_SIZE => Ok(size),
        size => {
            let message = format_args!("{size}, at most {MAX_SIZE} are permitted");
            Err(Refusal::of_field(Reason::PageTooLarge, "page_size", message))
        }
    }
}

/// The refusal of a page token that this server did not give.
pub fn bad_token() -> Refusal {
    Refusal::of_field(Reason::PageTokenInvalid, "page_token", "not a page token of this list")
}
