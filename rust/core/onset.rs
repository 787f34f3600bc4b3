//! The onset of a trail: a bucket where its path begins, with every bend that lies ahead.

use std::ops::Range;

use crate::bends::{Due, Ground, Pair, Pool, Size, Stock, Turn};
use crate::block::Bucket;
use crate::contract::Contract;
use crate::conventions::{CloseFee, Netting};
use crate::curve::Leg;
use crate::form::{Atom, Look, place_of};
use crate::keys::NONE;
use crate::marks::Mark;
use crate::outlook::{add_equity, add_ray};
use crate::path::{Course, NEGLIGIBLE};
use crate::piece::Ray;
use crate::sizes::{Fee, net, requirements, sides, worth};
use crate::trail::{Bend, Trail};

impl Trail<'_> {
    /// Takes a bucket up on this course, to be walked as far as `end`; false where it is flat.
    pub(crate) fn load(&mut self, bucket: &Bucket<'_>, course: &Course, end: f64) -> bool {
        let owes = bucket.amount.iter().any(|amount| *amount < 0.0)
            || bucket.isolated_margin.is_some_and(|posted| posted < 0.0);
        if !owes && bucket.quantity.iter().all(|quantity| *quantity == 0.0) {
            return false;
        }
        self.clear();
        self.end = end;
        self.start_pools(bucket, course);
        let mut row = 0;
        while row < bucket.instrument.len() {
            let next = bucket.instrument_end(row);
            self.hold(bucket, row..next, course);
            row = next;
        }
        self.own(bucket, course);
        if !self.dues.is_empty() {
            add_equity(&mut self.equity, &mut self.betas, bucket, course, self.marks);
        }
        self.start();
        true
    }

    /// The balances that profit joins.
    fn start_pools(&mut self, bucket: &Bucket<'_>, course: &Course) {
        self.pool_of.resize(bucket.asset.len(), NONE);
        for home in bucket.home {
            let home = *home as usize;
            if self.pool_of[home] != NONE {
                continue;
            }
            self.pool_of[home] = self.pool_count as u32;
            if self.pools.len() == self.pool_count {
                self.pools.push(Pool::default());
            }
            let asset = bucket.asset[home] as usize;
            let mark = &self.marks.assets[asset];
            let worth = Atom::straight(bucket.amount[home] * mark.price, course.assets[asset]);
            self.gross += worth.terms[0].abs();
            self.pools[self.pool_count].start(&worth, mark.weights);
            self.pool_count += 1;
        }
    }

    /// What the rows of one instrument come to.
    fn hold(&mut self, bucket: &Bucket<'_>, rows: Range<usize>, course: &Course) {
        let code = bucket.instrument[rows.start];
        let mark = &self.marks.instruments[code as usize];
        let betas = &mut self.betas;
        let contract = Contract::new(mark, course.of(code, mark), |b| place_of(betas, b));
        let place = self.contracts.len() as u32;
        self.contracts.push(contract);
        let net = net(bucket, rows.clone(), mark);
        self.gross += (net.gross * contract.value + net.cost.abs()) * mark.settle_price;
        if mark.kind.is_option() {
            return self.hold_options(bucket, rows, mark, &contract, net.quantity);
        }
        let profit = Contract::profit(net, mark);
        let pool = bucket.home.get(rows.start).map(|home| self.pool_of[*home as usize]);
        if self.rules.conventions.profit_weight == 1.0 {
            let form = match pool {
                None => &mut self.buffer,
                Some(pool) => &mut self.pools[pool as usize].form,
            };
            add_ray(form, &contract, profit, 1.0);
        } else {
            let (now, _) = worth(bucket, rows.clone(), mark);
            let turns = || contract.rises().is_some_and(|rises| rises == (profit.slope > 0.0));
            let gains = now > 0.0 || (now == 0.0 && turns());
            self.turns.push(Turn { contract: place, profit, gains, pool });
        }
        let first = self.sizes.len() as u32;
        self.measure(bucket, rows, mark, place);
        let sizes = (first, self.sizes.len() as u32);
        let conventions = &self.rules.conventions;
        let is_net = net.quantity.abs() > NEGLIGIBLE * net.gross;
        if conventions.close_fee == CloseFee::Bankruptcy && is_net && mark.close_fee_rate > 0.0 {
            let due = self.dues.len() as u32;
            self.dues.push(Due::new(place, sizes, net.quantity, mark));
            let its = self.pairs.iter_mut().rev().take_while(|pair| pair.long >= first);
            its.for_each(|pair| pair.due = Some(due));
        }
    }

    /// The sizes of one instrument.
    fn measure(&mut self, bucket: &Bucket<'_>, rows: Range<usize>, mark: &Mark, contract: u32) {
        let conventions = &self.rules.conventions;
        let nothing = Fee { per: 1.0, amount: 0.0 };
        let first = self.sizes.len();
        for side in sides(bucket, rows, self.marks, conventions.netting) {
            let leg = Leg::new(&side, mark, self.rules, nothing);
            let table = self.rules.tiers.table(side.tiers);
            let tier = leg.tier(table, mark.value, conventions.tier_edge);
            self.sizes.push(Size {
                contract,
                leg,
                table: side.tiers,
                tier,
                required: leg.required(table, tier),
                contracts: side.kept(conventions),
                is_kept: true,
                pair: None,
            });
        }
        if conventions.netting != Netting::LargerSide {
            return;
        }
        let mut long = first;
        while long + 1 < self.sizes.len() {
            if self.sizes[long].table != self.sizes[long + 1].table {
                long += 1;
                continue;
            }
            let pair = Some(self.pairs.len() as u32);
            (self.sizes[long].pair, self.sizes[long + 1].pair) = (pair, pair);
            self.pairs.push(Pair::new(long as u32));
            long += 2;
        }
    }

    /// Options: their value moves with their mark, what they require with the settle asset.
    fn hold_options(
        &mut self,
        bucket: &Bucket<'_>,
        rows: Range<usize>,
        mark: &Mark,
        contract: &Contract,
        quantity: f64,
    ) {
        let fee = Fee::new(mark, Default::default, 0.0, self.rules);
        let mut required = 0.0;
        requirements(bucket, rows, self.marks, self.rules, fee, |size| {
            required += size.maintenance;
        });
        let level = self.rules.conventions.level;
        let ray = Ray { constant: -level * required, slope: quantity };
        add_ray(&mut self.buffer, contract, ray, 1.0);
        self.required += usize::from(required > 0.0);
    }

    /// What is owned and owed beside the positions.
    fn own(&mut self, bucket: &Bucket<'_>, course: &Course) {
        let level = self.rules.conventions.level;
        if let Some(posted) = bucket.isolated_margin {
            let mark = &self.marks.instruments[bucket.instrument[0] as usize];
            let [_, beta] = course.of(bucket.instrument[0], mark);
            let is_weighed = posted < 0.0 && mark.settle_weights != NONE;
            let borrow = match is_weighed {
                true => self.rules.weights.table(mark.settle_weights).borrow_maintenance_rate,
                false => 0.0,
            };
            let worth = Atom::straight(posted * mark.settle_price, beta);
            self.gross += worth.terms[0].abs();
            self.buffer.add(&worth, 1.0 + level * borrow);
            self.required += usize::from(borrow > 0.0);
        }
        for (i, (asset, amount)) in bucket.asset.iter().zip(bucket.amount).enumerate() {
            let (mark, beta) =
                (&self.marks.assets[*asset as usize], course.assets[*asset as usize]);
            let value = amount * mark.price;
            self.gross += value.abs();
            if self.pool_of[i] != NONE || value == 0.0 {
                continue;
            }
            let table = self.rules.weights.table(mark.weights);
            let worth = Atom::straight(value, beta);
            if value < 0.0 {
                let borrow = table.borrow_maintenance_rate;
                self.buffer.add(&worth, table.liability_weight + level * borrow);
                self.required += usize::from(borrow > 0.0);
            } else {
                let (table, stretch) = (mark.weights, table.stretch_at(value));
                self.stocks.push(Stock { worth, value, beta, table, stretch });
            }
        }
    }

    /// Puts everything where it stands, and looks for its first bend.
    fn start(&mut self) {
        let places = |count: usize| 0..count as u32;
        for i in places(self.dues.len()) {
            let Self { dues, contracts, equity, betas, room, .. } = self;
            let due = &mut dues[i as usize];
            let contract = &contracts[due.contract as usize];
            due.start(room, Ground { contract, equity, betas });
        }
        for i in places(self.pairs.len()) {
            self.decide(i, 0.0);
        }
        for i in places(self.dues.len()) {
            self.charge(i);
            self.put_due(i, 1.0);
        }
        places(self.sizes.len()).for_each(|i| self.put_size(i, 1.0));
        places(self.stocks.len()).for_each(|i| self.put_stock(i, 1.0));
        for i in places(self.turns.len()) {
            let turn = &self.turns[i as usize];
            let form = match turn.pool {
                None => &mut self.buffer,
                Some(pool) => &mut self.pools[pool as usize].form,
            };
            let contract = &self.contracts[turn.contract as usize];
            add_ray(form, contract, turn.profit, turn.weight(&self.rules.conventions));
        }
        for i in places(self.pool_count) {
            let pool = &mut self.pools[i as usize];
            let value = Look::new(&pool.form, &self.betas).value(0.0);
            pool.stretch = self.rules.weights.table(pool.table).stretch_at(value);
            self.put_pool(i, 1.0);
        }
        places(self.sizes.len()).for_each(|i| self.schedule(Bend::Size(i), 0.0));
        places(self.turns.len()).for_each(|i| self.schedule(Bend::Turn(i), 0.0));
        places(self.stocks.len()).for_each(|i| self.schedule(Bend::Stock(i), 0.0));
        places(self.pool_count).for_each(|i| self.schedule(Bend::Pool(i), 0.0));
        places(self.dues.len()).for_each(|i| self.schedule(Bend::Due(i), 0.0));
        places(self.pairs.len()).for_each(|i| self.schedule(Bend::Pair(i), 0.0));
    }
}
