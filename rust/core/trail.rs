//! The trail of a bucket: its buffer along a path, from bend to bend.
//!
//! `Trail::load` takes a bucket up where the path begins. `Trail::walk` then shows every
//! stretch between two bends, on which the buffer is one form, and every place of a bend, whose
//! tier edge says which of the two tiers has it. Bends come out of a heap; passing one takes off
//! what it was and adds what it is, and the sums keep what rounding takes off, so that a bucket
//! of many thousand rows is as exact as one of three.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::bends::{Due, Ground, Pair, Pool, Size, Stock, Turn};
use crate::contract::Contract;
use crate::conventions::{TierEdge, TierMode};
use crate::form::{Form, Look};
use crate::marks::Marks;
use crate::piece::Ray;
use crate::rules::Rules;

/// What bends, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bend {
    /// A size changes its tier.
    Size(u32),
    /// Profit turns into loss or back.
    Turn(u32),
    /// A balance changes its stretch.
    Stock(u32),
    /// A joined balance changes its stretch.
    Pool(u32),
    /// A fee begins or ceases.
    Due(u32),
    /// The other side becomes the larger.
    Pair(u32),
}

/// A bend to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Event {
    /// Here.
    pub(crate) at: f64,
    /// It bends.
    pub(crate) bend: Bend,
    /// Of the search that found it.
    search: u32,
}

impl Eq for Event {}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let order = self.at.total_cmp(&other.at);
        order.then(self.bend.cmp(&other.bend)).then(self.search.cmp(&other.search))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What a walk shows.
pub(crate) enum Part<'a> {
    /// Between two bends.
    Stretch {
        /// From here.
        near: f64,
        /// To here.
        far: f64,
        /// `margin_balance - level * maintenance_margin`.
        buffer: Look<'a>,
        /// Whether something is required.
        is_required: bool,
    },
    /// At a bend, or at the end.
    Place {
        /// Here.
        at: f64,
        /// `margin_balance - level * maintenance_margin`.
        buffer: f64,
        /// Whether something is required.
        is_required: bool,
    },
}

/// Reusable room for a bucket on its path. See the module.
pub(crate) struct Trail<'a> {
    pub(crate) marks: &'a Marks,
    pub(crate) rules: &'a Rules,
    /// The last place.
    pub(crate) end: f64,
    pub(crate) betas: Vec<f64>,
    pub(crate) buffer: Form,
    pub(crate) equity: Form,
    pub(crate) contracts: Vec<Contract>,
    pub(crate) sizes: Vec<Size>,
    pub(crate) turns: Vec<Turn>,
    pub(crate) stocks: Vec<Stock>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) dues: Vec<Due>,
    pub(crate) pairs: Vec<Pair>,
    /// For each balance, the place of its pool, or `NONE`.
    pub(crate) pool_of: Vec<u32>,
    /// Pools that this bucket has.
    pub(crate) pool_count: usize,
    /// How many parts of the requirement are above 0.
    pub(crate) required: usize,
    /// What the buffer is made of where the path begins, without signs.
    pub(crate) gross: f64,
    /// Room for a form that is looked at.
    pub(crate) room: Form,
    events: BinaryHeap<Reverse<Event>>,
    late: Vec<Event>,
}

impl<'a> Trail<'a> {
    /// Room for buckets at these marks.
    pub(crate) fn new(marks: &'a Marks, rules: &'a Rules) -> Self {
        Self {
            marks,
            rules,
            end: 0.0,
            betas: Vec::new(),
            buffer: Form::default(),
            equity: Form::default(),
            contracts: Vec::new(),
            sizes: Vec::new(),
            turns: Vec::new(),
            stocks: Vec::new(),
            pools: Vec::new(),
            dues: Vec::new(),
            pairs: Vec::new(),
            pool_of: Vec::new(),
            pool_count: 0,
            required: 0,
            gross: 0.0,
            room: Form::default(),
            events: BinaryHeap::new(),
            late: Vec::new(),
        }
    }

    /// Forgets a bucket.
    pub(crate) fn clear(&mut self) {
        self.betas.clear();
        self.buffer.clear();
        self.equity.clear();
        self.contracts.clear();
        self.sizes.clear();
        self.turns.clear();
        self.stocks.clear();
        self.dues.clear();
        self.pairs.clear();
        self.pool_of.clear();
        self.events.clear();
        self.late.clear();
        (self.pool_count, self.required, self.gross) = (0, 0, 0.0);
    }

    /// Shows everything from where the path begins to its end, until `visit` says false.
    ///
    /// What holds at the beginning itself is for the kernel to say.
    pub(crate) fn walk(&mut self, mut visit: impl FnMut(Part<'_>) -> bool) {
        let mut near = 0.0;
        self.pass_all(near);
        loop {
            let far = self.next().map_or(self.end, |event| event.at);
            let (buffer, is_required) = (self.look(), self.required > 0);
            if !visit(Part::Stretch { near, far, buffer, is_required }) {
                return;
            }
            self.pass_early(far);
            let (buffer, is_required) = (self.look().value(far), self.required > 0);
            if !visit(Part::Place { at: far, buffer, is_required }) || far >= self.end {
                return;
            }
            let mut late = std::mem::take(&mut self.late);
            for event in late.drain(..) {
                if self.is_current(event) {
                    self.pass(event);
                }
            }
            self.late = late;
            self.pass_all(far);
            near = far;
        }
    }

    /// The buffer.
    pub(crate) fn look(&self) -> Look<'_> {
        Look::new(&self.buffer, &self.betas)
    }

    /// The next bend.
    fn next(&mut self) -> Option<Event> {
        while let Some(Reverse(event)) = self.events.peek().copied() {
            if self.is_current(event) {
                return Some(event);
            }
            self.events.pop();
        }
        None
    }

    /// Whether no later search has looked for this bend.
    fn is_current(&self, event: Event) -> bool {
        match event.bend {
            Bend::Pool(i) => self.pools[i as usize].search == event.search,
            Bend::Pair(i) => self.pairs[i as usize].search == event.search,
            _ => true,
        }
    }

    /// Passes every bend at `t`.
    fn pass_all(&mut self, t: f64) {
        while let Some(event) = self.next().filter(|event| event.at <= t) {
            self.events.pop();
            self.pass(event);
        }
    }

    /// Passes the bends at `t` whose place belongs to what comes after them; keeps the others.
    fn pass_early(&mut self, t: f64) {
        while let Some(event) = self.next().filter(|event| event.at <= t) {
            self.events.pop();
            if self.is_early(event.bend) {
                self.pass(event);
            } else {
                self.late.push(event);
            }
        }
    }

    /// Whether what comes after a bend holds at it: the tier that the edge says, where the
    /// requirement jumps; where it does not, nothing is required if nothing is on one side.
    fn is_early(&self, bend: Bend) -> bool {
        match bend {
            Bend::Size(i) => {
                let size = &self.sizes[i as usize];
                let rises = self.contracts[size.contract as usize].rises() == Some(true);
                let conventions = &self.rules.conventions;
                if conventions.tier_mode == TierMode::Slab {
                    return (conventions.tier_edge == TierEdge::Upper) == rises;
                }
                let table = self.rules.tiers.table(size.table);
                let next = size.next(table, rises);
                next.is_some_and(|(_, tier)| size.leg.required(table, tier) == Ray::default())
            }
            Bend::Pool(i) => self.pools[i as usize].leaves_debt(),
            Bend::Due(i) => self.dues[i as usize].is_due,
            Bend::Turn(_) | Bend::Stock(_) | Bend::Pair(_) => false,
        }
    }

    /// Looks for the next bend of this one, at `near` or beyond.
    pub(crate) fn schedule(&mut self, bend: Bend, near: f64) {
        let (rules, end) = (self.rules, self.end);
        let mut search = 0;
        let at = match bend {
            Bend::Size(i) => {
                let size = &self.sizes[i as usize];
                let contract = &self.contracts[size.contract as usize];
                let table = rules.tiers.table(size.table);
                let next = contract.rises().and_then(|rises| size.next(table, rises));
                next.and_then(|(value, _)| contract.when(value)).map(|t| t.max(near))
            }
            Bend::Turn(i) => {
                let turn = &self.turns[i as usize];
                turn.next(&self.contracts[turn.contract as usize], near)
            }
            Bend::Stock(i) => {
                let stock = &self.stocks[i as usize];
                stock.next(rules.weights.table(stock.table), near)
            }
            Bend::Pool(i) => {
                let pool = &mut self.pools[i as usize];
                let at = pool.next(rules.weights.table(pool.table), &self.betas, near, end);
                search = pool.search;
                at
            }
            Bend::Due(i) => {
                let Self { dues, contracts, equity, betas, room, .. } = self;
                let due = &dues[i as usize];
                let contract = &contracts[due.contract as usize];
                due.next(room, Ground { contract, equity, betas }, near, end)
            }
            Bend::Pair(i) => {
                let Self { pairs, sizes, dues, contracts, equity, betas, room, .. } = self;
                let pair = &mut pairs[i as usize];
                let contract = &contracts[sizes[pair.long as usize].contract as usize];
                let due = pair.due.map(|due| &dues[due as usize]);
                let ground = Ground { contract, equity, betas };
                let at = pair.next(room, sizes, due, ground, [near, end]);
                search = pair.search;
                at
            }
        };
        if let Some(at) = at.filter(|at| *at <= end) {
            self.events.push(Reverse(Event { at, bend, search }));
        }
    }
}
