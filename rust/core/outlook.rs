//! What a bucket is worth along a path, and how much it holds: forms without bends.

use crate::block::Bucket;
use crate::contract::Contract;
use crate::form::{Atom, Form, place_of};
use crate::marks::Marks;
use crate::path::Course;
use crate::piece::Ray;
use crate::rules::Rules;
use crate::sizes::{net, sides};

/// Adds what a bucket is worth: balances at full price, all profit, and option value. `betas`
/// is the list of the poles.
pub(crate) fn add_equity(
    form: &mut Form,
    betas: &mut Vec<f64>,
    bucket: &Bucket<'_>,
    course: &Course,
    marks: &Marks,
) {
    if let Some(posted) = bucket.isolated_margin {
        let mark = &marks.instruments[bucket.instrument[0] as usize];
        let [_, beta] = course.of(bucket.instrument[0], mark);
        form.add(&Atom::straight(posted * mark.settle_price, beta), 1.0);
    }
    for (asset, amount) in bucket.asset.iter().zip(bucket.amount) {
        let price = marks.assets[*asset as usize].price;
        form.add(&Atom::straight(amount * price, course.assets[*asset as usize]), 1.0);
    }
    let mut row = 0;
    while row < bucket.instrument.len() {
        let end = bucket.instrument_end(row);
        let code = bucket.instrument[row];
        let mark = &marks.instruments[code as usize];
        let contract = Contract::new(mark, course.of(code, mark), |b| place_of(betas, b));
        let net = net(bucket, row..end, mark);
        if mark.kind.is_option() {
            add_ray(form, &contract, Ray { constant: 0.0, slope: net.quantity }, 1.0);
        } else {
            add_ray(form, &contract, Contract::profit(net, mark), 1.0);
        }
        row = end;
    }
}

/// Adds the notional that a bucket's sizes have, without signs.
pub(crate) fn add_notional(
    form: &mut Form,
    betas: &mut Vec<f64>,
    bucket: &Bucket<'_>,
    course: &Course,
    marks: &Marks,
    rules: &Rules,
) {
    let mut row = 0;
    while row < bucket.instrument.len() {
        let end = bucket.instrument_end(row);
        let code = bucket.instrument[row];
        let mark = &marks.instruments[code as usize];
        let contract = Contract::new(mark, course.of(code, mark), |b| place_of(betas, b));
        let sizes = sides(bucket, row..end, marks, rules.conventions.netting);
        let contracts: f64 = sizes.map(|side| side.quantity.abs()).sum();
        let ray = match mark.kind.is_option() {
            true => Ray { constant: contracts * mark.value, slope: 0.0 },
            false => Ray { constant: 0.0, slope: contracts },
        };
        add_ray(form, &contract, ray, 1.0);
        row = end;
    }
}

/// Adds so many times what is a straight line in the value of a contract, settle asset.
#[inline]
pub(crate) fn add_ray(form: &mut Form, contract: &Contract, ray: Ray, times: f64) {
    form.add(&contract.unit, times * ray.constant);
    form.add(&contract.worth, times * ray.slope);
}
