//! IMF-fixdate, the one date format that is sent, RFC 9110 5.6.7.
//!
//! It must not know what time it is.

/// Bytes of an IMF-fixdate.
pub const IMF_FIXDATE_BYTES: usize = 29;

const DAYS: &[u8; 21] = b"MonTueWedThuFriSatSun";
const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
const SECONDS_PER_DAY: u64 = 86_400;
/// 9999-12-31T23:59:59Z: the year has four digits.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Writes `unix_seconds` as `Sun, 06 Nov 1994 08:49:37 GMT`. A time past the year 9999 is written as that
/// year's last second.
pub fn write_imf_fixdate(unix_seconds: u64, out: &mut [u8; IMF_FIXDATE_BYTES]) {
    let seconds = unix_seconds.min(SECONDS_MAX);
    let (days, second) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let (year, month, day) = civil(days);
    *out = *b"ddd, 00 mmm 0000 00:00:00 GMT";
    // 1970-01-01 was a Thursday.
    let weekday = (days as usize + 3) % 7;
    out[..3].copy_from_slice(&DAYS[3 * weekday..3 * weekday + 3]);
    out[8..11].copy_from_slice(&MONTHS[3 * month - 3..3 * month]);
    for (at, number) in [
        (5, day),
        (12, year / 100),
        (14, year % 100),
        (17, second as usize / 3600),
        (20, second as usize / 60 % 60),
        (23, second as usize % 60),
    ] {
        out[at] = b'0' + (number / 10) as u8;
        out[at + 1] = b'0' + (number % 10) as u8;
    }
}

/// Year, month from 1, and day from 1 of a day since 1970. Years are counted from March, so that the leap
/// day is the last and the lengths of the months repeat every five.
fn civil(days: u64) -> (usize, usize, usize) {
    const DAYS_TO_1970_FROM_MARCH_0000: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097;

    let days = days + DAYS_TO_1970_FROM_MARCH_0000;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / (DAYS_PER_ERA - 1);
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    ((era * 400 + year_of_era + next_year) as usize, month as usize, day as usize)
}

/// Seconds since 1970 of an IMF-fixdate, as the conditional fields carry them; `None` for any other bytes,
/// a time before 1970, or a weekday that is not that day's.
#[must_use]
pub fn parse_imf_fixdate(date: &[u8]) -> Option<u64> {
    let date: &[u8; IMF_FIXDATE_BYTES] = date.try_into().ok()?;
    let number = |at: usize, len: usize| {
        date[at..at + len].iter().try_fold(0u64, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0'))
        })
    };
    let (day, year) = (number(5, 2)?, number(12, 4)?);
    let (hour, minute, second) = (number(17, 2)?, number(20, 2)?, number(23, 2)?);
    let month = 1 + MONTHS.chunks_exact(3).position(|name| name == &date[8..11])? as u64;
    if year < 1970 {
        return None;
    }
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    let seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    // Writing it again is the check of everything else: ranges, separators, weekday, length of the month.
    let mut again = [0; IMF_FIXDATE_BYTES];
    write_imf_fixdate(seconds, &mut again);
    (again == *date).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(seconds: u64) -> [u8; IMF_FIXDATE_BYTES] {
        let mut out = [0; IMF_FIXDATE_BYTES];
        write_imf_fixdate(seconds, &mut out);
        out
    }

    #[test]
    fn rfc9110_5_6_7_known_dates() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (SECONDS_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(core::str::from_utf8(&written(seconds)), Ok(date));
            assert_eq!(parse_imf_fixdate(date.as_bytes()), Some(seconds), "{date}");
        }
        assert_eq!(written(u64::MAX), written(SECONDS_MAX));
    }

    #[test]
    fn every_day_for_900_years_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..330_000 {
            assert_eq!(civil(days), (year, month, day));
            let seconds = days * SECONDS_PER_DAY + days % SECONDS_PER_DAY;
            assert_eq!(parse_imf_fixdate(&written(seconds)), Some(seconds));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + usize::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }

    #[test]
    fn rfc9110_5_6_7_other_bytes_are_refused() {
        for date in [
            "",
            "Sun, 06 Nov 1994 08:49:37 gmt",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Fri, 31 Feb 1995 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov +994 08:49:37 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sat, 01 Jan 0000 00:00:00 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_imf_fixdate(date.as_bytes()), None, "{date}");
        }
    }
}
