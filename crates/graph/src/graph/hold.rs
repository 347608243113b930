/// Deferred expiry: what ends while this node is off the network stays readable until
/// it has met the others again, where the charter says so.
///
/// Off the network is who has no neighbour in the channel that said Hello: the link
/// may be down, or nobody else may be there. From a start or the loss of the last
/// neighbour on, until everything of some neighbour's is here, nothing ends.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Synchronized with somebody since there was nobody.
    met: bool,
}

impl Hold {
    pub(super) fn alone(&mut self) {
        self.met = false;
    }

    pub(super) fn synchronized(&mut self) {
        self.met = true;
    }

    /// Whether nothing may end now.
    pub(super) fn holds(&self) -> bool {
        !self.met
    }
}
