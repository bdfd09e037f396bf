/// Numbers at random that can be had again: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`.
    pub(crate) const fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Puts things into any order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for end in (1..things.len()).rev() {
            let other = self.below(end as u64 + 1);
            things.swap(end, usize::try_from(other).expect("an index"));
        }
    }

    /// Returns one of some things, if there is one.
    pub(crate) fn any<I: ExactSizeIterator>(
        &mut self,
        things: impl IntoIterator<IntoIter = I>,
    ) -> Option<I::Item> {
        let mut things = things.into_iter();
        let number = things.len() as u64;
        match number {
            0 => None,
            _ => things.nth(usize::try_from(self.below(number)).expect("an index")),
        }
    }

    /// Returns one of some values.
    pub(crate) fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        let index = self.below(values.len() as u64);
        values[usize::try_from(index).expect("an index")]
    }
}
