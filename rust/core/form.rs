//! A form: money along a path, where every price is a straight line in the shock.
//!
//! Let prices be `P (1 + b t)` for `t` from 0 outwards. Then every sum of money is
//! `c0 + c1 t + c2 t^2 + sum(d t / (1 + b t))`: a straight line for linear contracts, a square
//! where a contract moves with what it settles in, a pole for an inverse contract that moves
//! otherwise than its coin. Each of these terms rises with `t`, so a form is bounded on any
//! stretch by its ends, and so are its slope and its curvature (`roots`).

/// A running sum that keeps what rounding takes off (Neumaier 1974).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Kept {
    high: f64,
    low: f64,
}

impl Kept {
    #[inline(always)]
    pub(crate) fn add(&mut self, value: f64) {
        let sum = self.high + value;
        let added = sum - self.high;
        self.low += (self.high - (sum - added)) + (value - added);
        self.high = sum;
    }

    #[inline(always)]
    pub(crate) fn value(self) -> f64 {
        self.high + self.low
    }
}

/// What one thing is worth along the path, valuation asset: a form with one pole at most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Atom {
    /// `c0`, `c1` and `c2`.
    pub(crate) terms: [f64; 3],
    /// `d`; 0 for no pole.
    pub(crate) pole: f64,
    /// The place of its `b` in the list of the poles.
    pub(crate) place: u32,
}

impl Atom {
    /// `worth (1 + beta t)`.
    #[inline]
    pub(crate) fn straight(worth: f64, beta: f64) -> Self {
        Self { terms: [worth, worth * beta, 0.0], ..Self::default() }
    }
}

/// A sum of money along a path. See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    terms: [Kept; 3],
    poles: Vec<Kept>,
}

impl Form {
    /// Makes it 0.
    pub(crate) fn clear(&mut self) {
        self.terms = [Kept::default(); 3];
        self.poles.clear();
    }

    /// Adds so many times an atom. Taking the same off again leaves no trace.
    #[inline]
    pub(crate) fn add(&mut self, atom: &Atom, times: f64) {
        if times == 0.0 {
            return;
        }
        for (term, more) in self.terms.iter_mut().zip(atom.terms) {
            if more != 0.0 {
                term.add(times * more);
            }
        }
        if atom.pole != 0.0 {
            self.pole(atom.place as usize).add(times * atom.pole);
        }
    }

    /// Adds a sum that no price moves.
    #[inline]
    pub(crate) fn add_money(&mut self, money: f64) {
        self.terms[0].add(money);
    }

    /// Adds so many times another form.
    pub(crate) fn add_form(&mut self, other: &Self, times: f64) {
        for (term, more) in self.terms.iter_mut().zip(&other.terms) {
            term.add(times * more.high);
            term.add(times * more.low);
        }
        for (place, more) in other.poles.iter().enumerate() {
            let pole = self.pole(place);
            pole.add(times * more.high);
            pole.add(times * more.low);
        }
    }

    fn pole(&mut self, place: usize) -> &mut Kept {
        if self.poles.len() <= place {
            self.poles.resize(place + 1, Kept::default());
        }
        &mut self.poles[place]
    }
}

/// The place of `beta` in the list of poles, where it is put if need be.
pub(crate) fn place_of(betas: &mut Vec<f64>, beta: f64) -> u32 {
    let known = betas.iter().position(|known| *known == beta);
    known.unwrap_or_else(|| {
        betas.push(beta);
        betas.len() - 1
    }) as u32
}

/// `sign * form + shift`, to be looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    /// The form.
    pub(crate) form: &'a Form,
    /// `b` of each pole; `1 + b t` stays above 0 wherever one looks.
    pub(crate) betas: &'a [f64],
    /// +1 or -1.
    pub(crate) sign: f64,
    /// Added to it.
    pub(crate) shift: f64,
}

/// A share of a form's size that rounding does not reach.
const BLUR: f64 = 16.0 * f64::EPSILON;
impl<'a> Look<'a> {
    /// The form itself.
    #[inline]
    pub(crate) fn new(form: &'a Form, betas: &'a [f64]) -> Self {
        Self { form, betas, sign: 1.0, shift: 0.0 }
    }

    /// What lacks to this much: falls where the form rises.
    pub(crate) fn below(self, height: f64) -> Self {
        Self { sign: -self.sign, shift: height - self.shift, ..self }
    }

    /// What is more than this much.
    pub(crate) fn above(self, height: f64) -> Self {
        Self { shift: self.shift - height, ..self }
    }

    /// `c0`, `c1` and `c2`.
    #[inline]
    pub(crate) fn terms(&self) -> [f64; 3] {
        let [c0, c1, c2] = self.form.terms.map(|term| self.sign * term.value());
        [c0 + self.shift, c1, c2]
    }

    /// `d` and `b` of each pole.
    #[inline]
    pub(crate) fn poles(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let poles = self.form.poles.iter().zip(self.betas);
        let poles = poles.map(|(pole, beta)| (self.sign * pole.value(), *beta));
        poles.filter(|(pole, _)| *pole != 0.0)
    }

    /// Its value at `t`.
    #[inline]
    pub(crate) fn value(&self, t: f64) -> f64 {
        let [c0, c1, c2] = self.terms();
        self.poles().fold(c0 + t * (c1 + t * c2), |sum, (d, b)| sum + d * (t / (1.0 + b * t)))
    }

    /// The sum of its terms at `t` without their signs: rounding is a small share of it.
    pub(crate) fn size(&self, t: f64) -> f64 {
        let [c0, c1, c2] = self.terms().map(f64::abs);
        let sum = c0 + self.shift.abs() + t * (c1 + t * c2);
        self.poles().fold(sum, |sum, (d, b)| sum + (d * (t / (1.0 + b * t))).abs())
    }

    /// How far its value at `t` may be from what it is: for rounding, and because the next
    /// number after `t` is as far away as it is.
    pub(crate) fn blur(&self, t: f64) -> f64 {
        let [_, c1, c2] = self.terms();
        let steep = c1.abs() + 2.0 * c2.abs() * t;
        let steep = self.poles().fold(steep, |sum, (d, b)| sum + d.abs() * (1.0 + b * t).powi(-2));
        BLUR * (self.size(t) + steep * t)
    }

    /// What it rises by at `t`.
    pub(crate) fn slope(&self, t: f64) -> f64 {
        let [_, c1, c2] = self.terms();
        self.poles().fold(c1 + 2.0 * c2 * t, |sum, (d, b)| sum + d * (1.0 + b * t).powi(-2))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A form of these terms and of poles `(d, b)`, with the list of the poles.
    pub(crate) fn form(terms: [f64; 3], poles: &[(f64, f64)]) -> (Form, Vec<f64>) {
        let (mut form, mut betas) = (Form::default(), Vec::new());
        form.add(&Atom { terms, ..Atom::default() }, 1.0);
        for (pole, beta) in poles {
            let place = place_of(&mut betas, *beta);
            form.add(&Atom { pole: *pole, place, ..Atom::default() }, 1.0);
        }
        (form, betas)
    }

    #[test]
    fn what_is_added_and_taken_off_leaves_no_trace() {
        let (mut sum, betas) = form([1e-9, 1.0, 0.0], &[]);
        let large = Atom { terms: [1e15 / 3.0, 0.1, 1.0], pole: 7.0, place: 0 };
        sum.add(&large, 0.3);
        sum.add(&large, -0.3);
        assert_eq!(Look::new(&sum, &betas).terms(), [1e-9, 1.0, 0.0]);
        assert_eq!(Look::new(&sum, &[-1.0]).poles().count(), 0);
    }
}
