//! Passing bends: what a bucket's buffer and requirement gain and lose at each of them.
//!
//! `put_*` add or take off what one part of a bucket comes to; a bend takes it off, changes it
//! and adds it again.

use crate::bends::{Ground, Pair};
use crate::outlook::add_ray;
use crate::trail::{Bend, Event, Trail};

impl Trail<'_> {
    /// Passes a bend: takes off what it was, adds what it is, and looks for the next one.
    pub(crate) fn pass(&mut self, event: Event) {
        match event.bend {
            Bend::Size(i) => self.pass_size(i, event.at),
            Bend::Turn(i) => {
                self.put_turn(i, -1.0);
                let turn = &mut self.turns[i as usize];
                turn.gains = !turn.gains;
                self.put_turn(i, 1.0);
                if let Some(pool) = self.turns[i as usize].pool {
                    self.schedule(Bend::Pool(pool), event.at);
                }
            }
            Bend::Stock(i) => {
                self.put_stock(i, -1.0);
                self.stocks[i as usize].pass();
                self.put_stock(i, 1.0);
                self.schedule(event.bend, event.at);
            }
            Bend::Pool(i) => {
                self.put_pool(i, -1.0);
                self.pools[i as usize].pass(&self.betas, event.at);
                self.put_pool(i, 1.0);
                self.schedule(event.bend, event.at.next_up());
            }
            Bend::Due(i) => self.pass_due(i, event.at),
            Bend::Pair(i) => {
                self.put_pair(i, -1.0);
                let Self { pairs, sizes, dues, contracts, equity, betas, room, .. } = self;
                let pair = &mut pairs[i as usize];
                let contract = &contracts[sizes[pair.long as usize].contract as usize];
                let due = pair.due.map(|due| &dues[due as usize]);
                pair.pass(room, sizes, due, Ground { contract, equity, betas }, event.at);
                self.keep(i);
                self.put_pair(i, 1.0);
                self.schedule(event.bend, event.at.next_up());
            }
        }
    }

    fn pass_size(&mut self, i: u32, near: f64) {
        let pair = self.sizes[i as usize].pair;
        match pair {
            Some(pair) => self.put_pair(pair, -1.0),
            None => self.put_size(i, -1.0),
        }
        let size = &mut self.sizes[i as usize];
        let rises = self.contracts[size.contract as usize].rises() == Some(true);
        let table = self.rules.tiers.table(size.table);
        if let Some((_, tier)) = size.next(table, rises) {
            size.tier = tier;
            size.required = size.leg.required(table, tier);
        }
        match pair {
            Some(pair) => {
                self.decide(pair, near);
                self.put_pair(pair, 1.0);
                self.schedule(Bend::Pair(pair), near);
            }
            None => self.put_size(i, 1.0),
        }
        self.schedule(Bend::Size(i), near);
    }

    fn pass_due(&mut self, i: u32, near: f64) {
        let pairs = 0..self.pairs.len() as u32;
        let its = move |trail: &Self, pair: u32| trail.pairs[pair as usize].due == Some(i);
        self.put_due(i, -1.0);
        let Self { dues, contracts, equity, betas, room, .. } = self;
        let due = &mut dues[i as usize];
        let contract = &contracts[due.contract as usize];
        due.pass(room, Ground { contract, equity, betas }, near);
        self.put_due(i, 1.0);
        for pair in pairs {
            if its(self, pair) {
                self.put_pair(pair, -1.0);
                self.decide(pair, near);
                self.put_pair(pair, 1.0);
                self.schedule(Bend::Pair(pair), near);
            }
        }
        self.schedule(Bend::Due(i), near.next_up());
    }

    /// Keeps the larger size of a pair, as it is just beyond `near`.
    pub(crate) fn decide(&mut self, i: u32, near: f64) {
        let Self { pairs, sizes, dues, contracts, equity, betas, room, .. } = self;
        let pair = &mut pairs[i as usize];
        let contract = &contracts[sizes[pair.long as usize].contract as usize];
        let due = pair.due.map(|due| &dues[due as usize]);
        pair.decide(room, sizes, due, Ground { contract, equity, betas }, near);
        self.keep(i);
    }

    /// Tells the sizes of a pair, and their fee, which of them is kept.
    fn keep(&mut self, i: u32) {
        let pair = self.pairs[i as usize];
        let long = pair.long as usize;
        self.sizes[long].is_kept = pair.keeps_long;
        self.sizes[long + 1].is_kept = !pair.keeps_long;
        if let Some(due) = pair.due {
            self.charge(due);
        }
    }

    /// Tells a fee for how many contracts it is.
    pub(crate) fn charge(&mut self, i: u32) {
        let due = &mut self.dues[i as usize];
        let sizes = &self.sizes[due.sizes.0 as usize..due.sizes.1 as usize];
        due.contracts = sizes.iter().filter(|size| size.is_kept).map(|size| size.contracts).sum();
    }

    /// Adds so many times what a size requires.
    pub(crate) fn put_size(&mut self, i: u32, times: f64) {
        let size = &self.sizes[i as usize];
        if size.is_kept {
            let contract = &self.contracts[size.contract as usize];
            let level = self.rules.conventions.level;
            add_ray(&mut self.buffer, contract, size.required, -times * level);
        }
        count(&mut self.required, size.is_required(), times);
    }

    /// Adds so many times what profit counts.
    pub(crate) fn put_turn(&mut self, i: u32, times: f64) {
        let turn = self.turns[i as usize];
        let contract = &self.contracts[turn.contract as usize];
        let weight = times * turn.weight(&self.rules.conventions);
        match turn.pool {
            None => add_ray(&mut self.buffer, contract, turn.profit, weight),
            Some(pool) => {
                self.put_pool(pool, -1.0);
                let contract = &self.contracts[turn.contract as usize];
                add_ray(&mut self.pools[pool as usize].form, contract, turn.profit, weight);
                self.put_pool(pool, 1.0);
            }
        }
    }

    /// Adds so many times what a balance counts.
    pub(crate) fn put_stock(&mut self, i: u32, times: f64) {
        let stock = &self.stocks[i as usize];
        let stretch = self.rules.weights.table(stock.table).stretch(stock.stretch);
        self.buffer.add(&stock.worth, times * stretch.slope);
        self.buffer.add_money(times * stretch.constant);
    }

    /// Adds so many times what a joined balance counts, less what it requires as a debt.
    pub(crate) fn put_pool(&mut self, i: u32, times: f64) {
        let pool = &self.pools[i as usize];
        let stretch = self.rules.weights.table(pool.table).stretch(pool.stretch);
        let weight = stretch.slope + self.rules.conventions.level * stretch.borrow_rate;
        self.buffer.add_form(&pool.form, times * weight);
        self.buffer.add_money(times * stretch.constant);
        count(&mut self.required, stretch.borrow_rate > 0.0, times);
    }

    /// Adds so many times a fee.
    pub(crate) fn put_due(&mut self, i: u32, times: f64) {
        let due = &self.dues[i as usize];
        let share = due.share(due.contracts);
        if due.is_due && share > 0.0 {
            let contract = &self.contracts[due.contract as usize];
            let level = self.rules.conventions.level;
            due.add(&mut self.buffer, contract, &self.equity, -times * level * share);
            count(&mut self.required, true, times);
        }
    }

    /// Adds so many times what a pair requires, with the fee of its instrument.
    pub(crate) fn put_pair(&mut self, i: u32, times: f64) {
        let Pair { long, due, .. } = self.pairs[i as usize];
        self.put_size(long, times);
        self.put_size(long + 1, times);
        if let Some(due) = due {
            self.put_due(due, times);
        }
    }
}

/// Counts one more or one less.
fn count(counter: &mut usize, is_one: bool, times: f64) {
    if is_one {
        *counter = if times > 0.0 { *counter + 1 } else { *counter - 1 };
    }
}
