/// Deferred expiry: what ends while this node is off the network stays readable until
/// it has met the others again, where the charter says so.
#[derive(Debug, Default)]
pub(super) struct Hold {
    offline: bool,
    /// Back on the network, and not synchronized with anybody since.
    returning: bool,
}

impl Hold {
    pub(super) fn network(&mut self, online: bool) {
        self.returning = online && (self.offline || self.returning);
        self.offline = !online;
    }

    pub(super) fn synchronized(&mut self) {
        self.returning = false;
    }

    /// Whether nothing may end now.
    pub(super) fn holds(&self) -> bool {
        self.offline || self.returning
    }
}
