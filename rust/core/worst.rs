//! The worst scenario of each account, column by column.

use crate::memory::Buffer;

/// The worst scenario of each account, by the account's number.
pub struct Worst {
    /// Its number; `NONE` for an indeterminate account.
    pub scenario: Buffer<u32>,
    /// The margin buffer in it.
    pub margin_buffer: Buffer<f64>,
    /// `Status` in it.
    pub status: Buffer<u8>,
    /// Bad debt in it.
    pub bad_debt: Buffer<f64>,
    /// In how many scenarios the account is past the line.
    pub liquidatable: Buffer<i64>,
}

impl Worst {
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            scenario: Buffer::new(rows),
            margin_buffer: Buffer::new(rows),
            status: Buffer::new(rows),
            bad_debt: Buffer::new(rows),
            liquidatable: Buffer::new(rows),
        }
    }

    /// Cuts the columns into neighbouring parts of the given lengths, for writing.
    pub(crate) fn parts(&mut self, lengths: impl Iterator<Item = usize>) -> Vec<WorstPart<'_>> {
        let mut rest = (
            &mut *self.scenario,
            &mut *self.margin_buffer,
            &mut *self.status,
            &mut *self.bad_debt,
            &mut *self.liquidatable,
        );
        let part = |length: usize| WorstPart {
            scenario: take(&mut rest.0, length),
            margin_buffer: take(&mut rest.1, length),
            status: take(&mut rest.2, length),
            bad_debt: take(&mut rest.3, length),
            liquidatable: take(&mut rest.4, length),
        };
        lengths.map(part).collect()
    }
}

fn take<'a, T>(rest: &mut &'a mut [T], length: usize) -> &'a mut [T] {
    rest.split_off_mut(..length).unwrap_or_default()
}

/// Neighbouring rows of `Worst`, to be written by one thread.
pub(crate) struct WorstPart<'a> {
    pub(crate) scenario: &'a mut [u32],
    pub(crate) margin_buffer: &'a mut [f64],
    pub(crate) status: &'a mut [u8],
    pub(crate) bad_debt: &'a mut [f64],
    pub(crate) liquidatable: &'a mut [i64],
}
