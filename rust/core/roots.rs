//! Roots of forms: where money along a path first falls below 0.
//!
//! Every term of a form rises along the path, so a form is bounded on any stretch by its ends,
//! and so are its slope and its curvature. `Look::falls` halves stretches until a bound excludes
//! a root or leaves one alone, which is then closed in on. It never samples.

use crate::form::Look;

/// What is known of a stretch.
enum Verdict {
    /// The form does not fall below 0 on it.
    Clear,
    /// It does so first here.
    Falls(f64),
    /// Nothing yet.
    Open,
}

/// Halvings of a stretch: beyond them two places are one.
const HALVINGS: usize = 128;
/// Steps of a search that ends after far fewer.
const STEPS: usize = 128;

impl Look<'_> {
    /// The first place from `a` to `b` beyond which it is below 0; with `touches`, also one
    /// between them where it is 0.
    ///
    /// Where it is 0 at `a` and rises, `a` is none; what it is at `b` alone is for the caller.
    pub(crate) fn falls(&self, a: f64, b: f64, touches: bool) -> Option<f64> {
        if self.poles().next().is_some() {
            return self.search(a, b, touches);
        }
        let terms = self.terms();
        match terms[2] == 0.0 {
            true => line_falls(terms[0], terms[1], a, b, touches),
            false => self.square_falls(terms, a, b, touches),
        }
    }

    fn square_falls(&self, [c0, c1, c2]: [f64; 3], a: f64, b: f64, touches: bool) -> Option<f64> {
        let at = |t: f64| c0 + t * (c1 + t * c2);
        let (here, slope) = (at(a), c1 + 2.0 * c2 * a);
        let sinks = slope < 0.0 || (slope == 0.0 && c2 < 0.0);
        if here < 0.0 || (here == 0.0 && sinks) {
            return Some(a);
        }
        let under = difference(c1, c1, 4.0 * c2, c0);
        if !under.is_finite() {
            return self.search(a, b, touches);
        }
        let between = |root: f64| {
            let root = root.max(a);
            if root < b { Some(root) } else { (at(b) < 0.0).then_some(b) }
        };
        if under < 0.0 || (under == 0.0 && c2 > 0.0 && !touches) {
            return None;
        }
        let half = -0.5 * (c1 + under.sqrt().copysign(c1));
        let [first, second] = ordered(half / c2, if half == 0.0 { 0.0 } else { c0 / half });
        if c2 < 0.0 {
            return between(second);
        }
        if first > a || (first == a && sinks) { between(first) } else { None }
    }

    fn search(&self, a: f64, b: f64, touches: bool) -> Option<f64> {
        if self.value(a) < 0.0 {
            return Some(a);
        }
        let mut low = a;
        let mut ends = [b; HALVINGS];
        let mut open = 1;
        while open > 0 {
            let high = ends[open - 1];
            match self.judge(low, high, touches && high < b) {
                Verdict::Falls(t) => return Some(t),
                Verdict::Clear => {
                    low = high;
                    open -= 1;
                }
                Verdict::Open => {
                    let middle = low + (high - low) / 2.0;
                    if low < middle && middle < high && open < HALVINGS {
                        ends[open] = middle;
                        open += 1;
                    } else if self.value(high) < 0.0 {
                        return Some(high);
                    } else {
                        low = high;
                        open -= 1;
                    }
                }
            }
        }
        None
    }

    /// Looks at a stretch at whose beginning it is not below 0.
    fn judge(&self, low: f64, high: f64, touches: bool) -> Verdict {
        if self.least(low, high) > 0.0 {
            return Verdict::Clear;
        }
        let [slowest, fastest] = self.slopes(low, high);
        if slowest >= 0.0 || self.value(low) + slowest * (high - low) > 0.0 {
            return Verdict::Clear;
        }
        let [least, most] = self.curvatures(low, high);
        if fastest <= 0.0 || most <= 0.0 {
            let there = self.value(high);
            return match there < 0.0 {
                true => Verdict::Falls(self.crossing(low, high)),
                false if touches && there == 0.0 => Verdict::Falls(high),
                false => Verdict::Clear,
            };
        }
        if least >= 0.0 { self.descend(low, high, touches) } else { Verdict::Open }
    }

    /// Newton's way where it curves upwards: a tangent lies below it, so no step goes too far.
    fn descend(&self, low: f64, high: f64, touches: bool) -> Verdict {
        let mut t = low;
        for _ in 0..STEPS {
            let (value, slope) = (self.value(t), self.slope(t));
            if value <= 0.0 && (value < 0.0 || slope < 0.0 || (touches && t > low)) {
                return Verdict::Falls(t);
            }
            if slope >= 0.0 {
                return Verdict::Clear;
            }
            let next = t - value / slope;
            if next >= high {
                return Verdict::Clear;
            }
            if next <= t {
                return Verdict::Falls(t);
            }
            t = next;
        }
        Verdict::Falls(t)
    }

    /// The root between a place where it is not below 0 and one where it is, if there is one.
    fn crossing(&self, mut low: f64, mut high: f64) -> f64 {
        let mut t = low + (high - low) / 2.0;
        for _ in 0..STEPS {
            let value = self.value(t);
            if value >= 0.0 {
                low = t;
            } else {
                high = t;
            }
            let newton = t - value / self.slope(t);
            let next =
                if low < newton && newton < high { newton } else { low + (high - low) / 2.0 };
            if value == 0.0 || next == t || next <= low || next >= high {
                return if value == 0.0 { t } else { low };
            }
            t = next;
        }
        low
    }

    /// It is no less than this from `a` to `b`: every term rises.
    fn least(&self, a: f64, b: f64) -> f64 {
        let [c0, c1, c2] = self.terms();
        let end = |factor: f64| if factor >= 0.0 { a } else { b };
        let sum = c0 + c1 * end(c1) + c2 * end(c2) * end(c2);
        self.poles().fold(sum, |sum, (d, beta)| {
            let t = end(d);
            sum + d * (t / (1.0 + beta * t))
        })
    }

    /// Its slope lies between these from `a` to `b`.
    fn slopes(&self, a: f64, b: f64) -> [f64; 2] {
        let [_, c1, c2] = self.terms();
        let bounds = ordered(c1 + 2.0 * c2 * a, c1 + 2.0 * c2 * b);
        self.poles().fold(bounds, |[low, high], (d, beta)| {
            let at = |t: f64| d * (1.0 + beta * t).powi(-2);
            let [least, most] = ordered(at(a), at(b));
            [low + least, high + most]
        })
    }

    /// Its curvature lies between these from `a` to `b`.
    fn curvatures(&self, a: f64, b: f64) -> [f64; 2] {
        let [_, _, c2] = self.terms();
        self.poles().fold([2.0 * c2; 2], |[low, high], (d, beta)| {
            let at = |t: f64| -2.0 * d * beta * (1.0 + beta * t).powi(-3);
            let [least, most] = ordered(at(a), at(b));
            [low + least, high + most]
        })
    }
}

/// Where a straight line falls below 0, as `Look::falls`.
#[inline(always)]
fn line_falls(c0: f64, c1: f64, a: f64, b: f64, touches: bool) -> Option<f64> {
    let here = c0 + c1 * a;
    if here < 0.0 || (here == 0.0 && (c1 < 0.0 || (touches && c1 == 0.0))) {
        return Some(a);
    }
    if c1 >= 0.0 {
        return None;
    }
    let root = (-c0 / c1).max(a);
    if root < b { Some(root) } else { (c0 + c1 * b < 0.0).then_some(b) }
}

fn ordered(a: f64, b: f64) -> [f64; 2] {
    if a <= b { [a, b] } else { [b, a] }
}

/// `a b - c d`, rounded as if the products were exact (Kahan).
fn difference(a: f64, b: f64, c: f64, d: f64) -> f64 {
    let product = c * d;
    let left = (-c).mul_add(d, product);
    a.mul_add(b, -product) + left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::tests::form;

    fn falls(terms: [f64; 3], poles: &[(f64, f64)], touches: bool) -> Option<f64> {
        let (form, betas) = form(terms, poles);
        Look::new(&form, &betas).falls(0.0, 0.75, touches)
    }

    #[test]
    fn a_line_falls_where_it_is_0() {
        assert_eq!(falls([1.0, -2.0, 0.0], &[], false), Some(0.5));
        assert_eq!(falls([1.0, -1.0, 0.0], &[], false), None);
        assert_eq!(falls([0.0, 1.0, 0.0], &[], true), None);
        assert_eq!(falls([0.0, -1.0, 0.0], &[], false), Some(0.0));
        assert_eq!(falls([0.0, 0.0, 0.0], &[], false), None);
        assert_eq!(falls([0.0, 0.0, 0.0], &[], true), Some(0.0));
    }

    #[test]
    fn a_square_falls_at_its_first_root_and_touches_only_if_asked_to() {
        // (t - 1/4) (t - 1/2), and its opposite, which is above 0 between them.
        assert_eq!(falls([0.125, -0.75, 1.0], &[], false), Some(0.25));
        let (form, _) = form([-0.125, 0.75, -1.0], &[]);
        assert_eq!(Look::new(&form, &[]).falls(0.25, 0.75, false), Some(0.5));
        // (t - 1/4)^2
        assert_eq!(falls([0.0625, -0.5, 1.0], &[], false), None);
        assert_eq!(falls([0.0625, -0.5, 1.0], &[], true), Some(0.25));
        // t^2 + 1 never, t (t - 1/2) at once, t (1/2 - t) at 1/2.
        assert_eq!(falls([1.0, 0.0, 1.0], &[], true), None);
        assert_eq!(falls([0.0, -0.5, 1.0], &[], false), Some(0.0));
        assert_eq!(falls([0.0, 0.5, -1.0], &[], false), Some(0.5));
    }

    #[test]
    fn a_pole_falls_at_its_first_root() {
        // 1 - t / (1 - t) = 0 at 1/2.
        let found = falls([1.0, 0.0, 0.0], &[(-1.0, -1.0)], false);
        assert!((found.unwrap() - 0.5).abs() < 1e-15, "{found:?}");
        // 1 / (1 - t) - 1 - 4 t + 1 / 8 = t / (1 - t) - 4 t + 1 / 8: 4 t^2 - 3.125 t + 0.125
        // over 1 - t, whose first root is (3.125 - sqrt(3.125^2 - 2)) / 8.
        let found = falls([0.125, -4.0, 0.0], &[(1.0, -1.0)], false).unwrap();
        let root = (3.125 - (3.125f64 * 3.125 - 2.0).sqrt()) / 8.0;
        assert!((found - root).abs() < 1e-15, "{found} {root}");
    }

    #[test]
    fn a_narrow_dip_between_poles_is_found() {
        // t / (1 - t) + t / (1 + t) = 2 t / (1 - t^2), less its tangent at 1/2 and a little:
        // it dips to -1e-9 there and nowhere else.
        let slope = 2.0 * 1.25 / 0.75 / 0.75;
        let (form, betas) =
            form([slope / 2.0 - 4.0 / 3.0 - 1e-9, -slope, 0.0], &[(1.0, -1.0), (1.0, 1.0)]);
        let look = Look::new(&form, &betas);
        let found = look.falls(0.0, 0.75, false).unwrap();
        assert!(found < 0.5 && found > 0.4999, "{found}");
        assert!(look.value(found).abs() < 1e-14);
        let lifted = Look { shift: 2e-9, ..look };
        assert_eq!(lifted.falls(0.0, 0.75, true), None);
    }

    #[test]
    fn the_first_root_of_random_forms_has_nothing_below_0_before_it() {
        let mut state = 11u64;
        let mut draw = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
        };
        let mut found = 0;
        for _ in 0..4000 {
            let terms = [draw().abs(), 3.0 * draw(), 3.0 * draw()];
            let poles = [(draw(), -1.0), (2.0 * draw(), draw()), (2.0 * draw(), 1.0)];
            let (form, betas) = form(terms, &poles);
            let look = Look::new(&form, &betas);
            let end = 1.0f64.next_down();
            let root = look.falls(0.0, end, false);
            let last = root.unwrap_or(end);
            for step in 0..2000 {
                let t = last * (f64::from(step) / 2000.0);
                assert!(look.value(t) >= -1e-12, "{terms:?} {poles:?} {t} before {root:?}");
            }
            if let Some(root) = root {
                found += 1;
                let apart = 4.0 * f64::EPSILON * look.slope(root).abs();
                assert!(look.value(root).abs() <= 1e-13 * look.size(root) + apart);
            }
        }
        assert!(found > 1000);
    }
}
