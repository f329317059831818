//! The date and the time of day of an instant in a time zone.
//!
//! Instants are turned into local time and never back, so that an hour which a
//! clock change skips or repeats is no question. The rules of the time zones
//! are part of the binary: the machine's could change under a running server.

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// A part of a date or of a time of day, numbered as CEL numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalendarPart {
    FullYear,
    /// From 0, which is January.
    Month,
    /// Of the month, from 1.
    Date,
    /// From 0.
    DayOfMonth,
    /// From 0, which is Sunday.
    DayOfWeek,
    /// From 0.
    DayOfYear,
    Hours,
    Minutes,
}

impl CalendarPart {
    /// The part of an instant in milliseconds since 1970; NaN if that is
    /// missing or beyond the years -9999 to 9999.
    pub fn of(self, instant_ms: f64, zone: &TimeZone) -> f64 {
        if instant_ms.is_nan() {
            return f64::NAN;
        }
        // What an i64 does not hold saturates, and is out of range all the same.
        let Ok(instant) = jiff::Timestamp::from_millisecond(instant_ms.floor() as i64) else {
            return f64::NAN;
        };
        let local = zone.to_datetime(instant);
        match self {
            Self::FullYear => f64::from(local.year()),
            Self::Month => f64::from(local.month() - 1),
            Self::Date => f64::from(local.day()),
            Self::DayOfMonth => f64::from(local.day() - 1),
            Self::DayOfWeek => f64::from(local.weekday().to_sunday_zero_offset()),
            Self::DayOfYear => f64::from(local.day_of_year() - 1),
            Self::Hours => f64::from(local.hour()),
            Self::Minutes => f64::from(local.minute()),
        }
    }
}

/// The time zone of an IANA name such as `Europe/Berlin`, in whatever case.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    let zone = TimeZoneDatabase::bundled().get(name).ok()?;
    // `Etc/Unknown` is in the database, and would pass for UTC.
    (!zone.is_unknown()).then_some(zone)
}

/// Every name that [`time_zone`] knows.
pub fn time_zone_names() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::time::Timestamp;

    /// Local date and time, day of the week and of the year.
    fn local(instant: &str, zone: &str) -> String {
        let instant: Timestamp = instant.parse().expect("an instant");
        let zone = time_zone(zone).expect("a time zone");
        let part = |part: CalendarPart| part.of(instant.as_millis() as f64, &zone);
        assert_eq!(part(CalendarPart::Date), part(CalendarPart::DayOfMonth) + 1.0);
        format!(
            "{}-{:02}-{:02} {:02}:{:02}, {} and {}",
            part(CalendarPart::FullYear),
            part(CalendarPart::Month) + 1.0,
            part(CalendarPart::Date),
            part(CalendarPart::Hours),
            part(CalendarPart::Minutes),
            part(CalendarPart::DayOfWeek),
            part(CalendarPart::DayOfYear),
        )
    }

    #[test]
    fn instants_have_the_local_time_of_the_zone() {
        let table = [
            ("2024-12-31T23:59:59.999Z", "UTC", "2024-12-31 23:59, 2 and 365"),
            // Clocks go forward: from 02:00 to 03:00.
            ("2024-03-31T00:59:59.999Z", "Europe/Berlin", "2024-03-31 01:59, 0 and 90"),
            ("2024-03-31T01:00:00Z", "Europe/Berlin", "2024-03-31 03:00, 0 and 90"),
            ("2024-03-10T06:59:00Z", "America/New_York", "2024-03-10 01:59, 0 and 69"),
            ("2024-03-10T07:00:00Z", "America/New_York", "2024-03-10 03:00, 0 and 69"),
            // Clocks go back: the hour from 02:00 comes twice, in New York that from 01:00.
            ("2024-10-27T00:30:00Z", "Europe/Berlin", "2024-10-27 02:30, 0 and 300"),
            ("2024-10-27T01:30:00Z", "Europe/Berlin", "2024-10-27 02:30, 0 and 300"),
            ("2024-11-03T05:30:00Z", "America/New_York", "2024-11-03 01:30, 0 and 307"),
            ("2024-11-03T06:30:00Z", "America/New_York", "2024-11-03 01:30, 0 and 307"),
            // Half hours and quarters; by half an hour, too, clocks are changed.
            ("2024-01-01T18:30:00Z", "Asia/Kolkata", "2024-01-02 00:00, 2 and 1"),
            ("2024-01-01T00:00:00Z", "Asia/Kathmandu", "2024-01-01 05:45, 1 and 0"),
            ("2024-04-06T14:59:00Z", "Australia/Lord_Howe", "2024-04-07 01:59, 0 and 97"),
            ("2024-04-06T15:00:00Z", "Australia/Lord_Howe", "2024-04-07 01:30, 0 and 97"),
            // The farthest ahead, and one that left out a day.
            ("2024-12-31T10:00:00Z", "Pacific/Kiritimati", "2025-01-01 00:00, 3 and 0"),
            ("2011-12-30T09:59:00Z", "Pacific/Apia", "2011-12-29 23:59, 4 and 362"),
            ("2011-12-30T10:00:00Z", "Pacific/Apia", "2011-12-31 00:00, 6 and 364"),
            // Before 1970, and beyond the tables, where the last rule goes on.
            ("1969-07-20T20:17:40.500Z", "America/Chicago", "1969-07-20 15:17, 0 and 200"),
            ("2050-07-01T12:00:00Z", "europe/berlin", "2050-07-01 14:00, 5 and 181"),
        ];
        for (instant, zone, expected) in table {
            assert_eq!(local(instant, zone), expected, "{instant} {zone}");
        }
    }

    #[test]
    fn what_is_no_instant_or_no_zone_is_missing() {
        for ms in [f64::NAN, 1e18, -1e18, 1e100] {
            assert!(CalendarPart::Hours.of(ms, &TimeZone::UTC).is_nan(), "{ms}");
        }
        assert_eq!(CalendarPart::Minutes.of(-0.5, &TimeZone::UTC), 59.0, "the millisecond it is within");
        for name in ["", "Mars/Olympus", "Etc/Unknown", "+01:00", "Europe/Berlin "] {
            assert_eq!(time_zone(name), None, "{name}");
        }
        assert!(time_zone_names().iter().any(|name| name == "Europe/Berlin"));
    }
}
