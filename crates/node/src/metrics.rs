//! What a node counts, under the names and units of Prometheus' conventions.

use std::time::Duration;

use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry,
};

use samara_graph::Fault;

use crate::{EngineError, api::ErrorKind, bundle::BundleError, discovery::Source};

/// All metrics of one node. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    chunk_bytes: IntCounterVec,
    pub(crate) chunks_verified: IntCounter,
    pub(crate) chunks_rejected: IntCounter,
    pub(crate) chunks_decoded: IntCounter,
    pub(crate) chunk_bytes_wasted: IntCounter,
    pub(crate) chunks_withdrawn: IntCounter,
    pub(crate) connections: IntGauge,
    pub(crate) records_waiting: IntGauge,
    pub(crate) records_displaced: IntCounter,
    pub(crate) records_crowded_out: IntCounter,
    pub(crate) records: IntGauge,
    pub(crate) open_requests: IntGauge,
    pub(crate) store_bytes: IntGauge,
    pub(crate) misbehaviour: IntCounterVec,
    pub(crate) imports_refused: IntCounterVec,
    pub(crate) records_rejected: IntCounterVec,
    pub(crate) charter_forks: IntCounter,
    pub(crate) gate_refusals: IntCounterVec,
    pub(crate) words: IntCounterVec,
    pub(crate) chunk_fetch: Histogram,
    waited: CounterVec,
    computed: CounterVec,
    queued: CounterVec,
    pub(crate) cpu_throttled: Counter,
    discovery_found: IntCounterVec,
    discovery_dials: IntCounterVec,
    discovery_connected: IntCounterVec,
    discovery_dropped: IntCounterVec,
    pub(crate) discovery_lookups: IntCounter,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, EngineError> {
        Self::register().map_err(|e| EngineError::new(ErrorKind::Internal, e.to_string()))
    }

    fn register() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let gauge = |name: &str, help: &str| {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let chunk_bytes = counters(
            "samara_chunk_bytes_total",
            "Chunk payload bytes moved; source is the origin (the record's author) or any other peer, seen from the receiver.",
            &["direction", "source", "scope"],
        )?;
        for direction in ["received", "sent"] {
            for source in ["origin", "peer"] {
                for scope in ["lan", "wan"] {
                    // A series that exists from the start is one that rates work on.
                    chunk_bytes.with_label_values(&[direction, source, scope]);
                }
            }
        }
        let misbehaviour = counters(
            "samara_peer_misbehaviour_total",
            "Times that a peer broke the protocol, by the part of it.",
            &["kind"],
        )?;
        let faults = Fault::ALL.map(Fault::label);
        for kind in (["protocol", "graph", "swarm", "opens"].into_iter()).chain(faults) {
            misbehaviour.with_label_values(&[kind]);
        }
        let imports_refused = counters(
            "samara_imports_refused_total",
            "Files to import that were refused as a whole, by reason.",
            &["reason"],
        )?;
        for reason in BundleError::LABELS {
            imports_refused.with_label_values(&[reason]);
        }
        let words = counters(
            "samara_words_total",
            "What peers told this node alone, by whether it was taken.",
            &["outcome"],
        )?;
        for outcome in ["taken", "refused"] {
            words.with_label_values(&[outcome]);
        }
        let discovery_found = counters(
            "samara_discovery_found_total",
            "Times that a peer's addresses were told, by who told them.",
            &["source"],
        )?;
        let discovery_dials = counters(
            "samara_discovery_dials_total",
            "Peers dialled, by who named the first of their addresses.",
            &["source"],
        )?;
        let seconds = |name: &str, help: &str, labels: &[&str]| {
            let metric = CounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let waited = seconds(
            "samara_transfer_wait_seconds_total",
            "Time that transfers waited, summed over contents, by what for.",
            &["reason"],
        )?;
        for reason in [
            "source", "urgent", "credit", "limit", "limit_up", "writing", "window",
        ] {
            waited.with_label_values(&[reason]);
        }
        let computed = seconds(
            "samara_thread_cpu_seconds_total",
            "Processor time of the network thread and of those that hash and write.",
            &["thread"],
        )?;
        let queued = seconds(
            "samara_thread_wait_seconds_total",
            "Time that these threads were ready to run and had no processor.",
            &["thread"],
        )?;
        let cpu_throttled = Counter::new(
            "samara_cpu_throttled_seconds_total",
            "Time that the cgroup of this process had used up its quota.",
        )?;
        registry.register(Box::new(cpu_throttled.clone()))?;
        let discovery_connected = counters(
            "samara_discovery_connected_total",
            "Dialled peers that answered and proved their key, likewise.",
            &["source"],
        )?;
        for source in Source::ALL {
            for by_source in [&discovery_found, &discovery_dials, &discovery_connected] {
                by_source.with_label_values(&[source.name()]);
            }
        }
        let discovery_dropped = counters(
            "samara_discovery_dropped_total",
            "Hints that were not taken because there were too many.",
            &["source"],
        )?;
        for source in Source::ALL.into_iter().filter(|s| s.is_hearsay()) {
            discovery_dropped.with_label_values(&[source.name()]);
        }
        let chunk_fetch = Histogram::with_opts(
            HistogramOpts::new(
                "samara_chunk_fetch_seconds",
                "Time from sending a request to a chunk of it being verified and written.",
            )
            .buckets(vec![
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            ]),
        )?;
        registry.register(Box::new(chunk_fetch.clone()))?;
        Ok(Self {
            chunks_verified: counter(
                "samara_chunks_verified_total",
                "Chunks received whose hash matched.",
            )?,
            chunks_decoded: counter(
                "samara_chunks_decoded_total",
                "Chunks brought back from parity shards",
            )?,
            chunks_rejected: counter(
                "samara_chunks_rejected_total",
                "Chunks received whose hash did not match.",
            )?,
            chunk_bytes_wasted: counter(
                "samara_chunk_bytes_wasted_total",
                "Chunk bytes received for nothing: with a wrong hash, or here already.",
            )?,
            chunks_withdrawn: counter(
                "samara_chunks_withdrawn_total",
                "Chunks found changed or damaged on this disk and no longer served.",
            )?,
            connections: gauge("samara_peers", "Connected peers.")?,
            records: gauge("samara_records", "Records held, in all channels.")?,
            records_waiting: gauge(
                "samara_records_waiting",
                "Records set aside until the right of their authors to write them arrives.",
            )?,
            records_displaced: counter(
                "samara_records_displaced_total",
                "Records that gave way to others: more than the charter allows.",
            )?,
            records_crowded_out: counter(
                "samara_records_crowded_out_total",
                "Records that waited for a right which did not come, and made room for others.",
            )?,
            open_requests: gauge(
                "samara_open_requests",
                "Requests for chunks that are under way.",
            )?,
            store_bytes: gauge(
                "samara_store_bytes",
                "Bytes that the store's own content files use.",
            )?,
            charter_forks: counter(
                "samara_charter_forks_total",
                "Conflicting charters seen: an owner's keys may be stolen.",
            )?,
            words,
            gate_refusals: counters(
                "samara_gate_refusals_total",
                "Proofs of membership in private channels that were not taken, by reason.",
                &["reason"],
            )?,
            records_rejected: counters(
                "samara_records_rejected_total",
                "Records from peers and imported files that were not taken, by reason.",
                &["reason"],
            )?,
            discovery_lookups: counter(
                "samara_discovery_lookups_total",
                "Questions asked of the DHT.",
            )?,
            waited,
            computed,
            queued,
            cpu_throttled,
            discovery_found,
            discovery_dials,
            discovery_connected,
            discovery_dropped,
            chunk_bytes,
            misbehaviour,
            imports_refused,
            chunk_fetch,
            registry,
        })
    }

    /// Transfers waited for something.
    pub(crate) fn waited(&self, reason: &str, time: Duration) {
        if !time.is_zero() {
            let label = [reason];
            self.waited
                .with_label_values(&label)
                .inc_by(time.as_secs_f64());
        }
    }

    /// Threads computed.
    pub(crate) fn computed(&self, thread: &str, time: Duration) {
        let label = [thread];
        self.computed
            .with_label_values(&label)
            .inc_by(time.as_secs_f64());
    }

    /// Threads waited for a processor.
    pub(crate) fn queued(&self, thread: &str, time: Duration) {
        let label = [thread];
        self.queued
            .with_label_values(&label)
            .inc_by(time.as_secs_f64());
    }

    /// A peer's addresses were told.
    pub(crate) fn hint_found(&self, source: Source) {
        let label = [source.name()];
        self.discovery_found.with_label_values(&label).inc();
    }

    /// A peer is dialled.
    pub(crate) fn hint_dialled(&self, source: Source) {
        let label = [source.name()];
        self.discovery_dials.with_label_values(&label).inc();
    }

    /// A dialled peer proved its key.
    pub(crate) fn hint_proved(&self, source: Source) {
        let label = [source.name()];
        self.discovery_connected.with_label_values(&label).inc();
    }

    /// There was no room for what was told.
    pub(crate) fn hint_dropped(&self, source: Source) {
        let label = [source.name()];
        self.discovery_dropped.with_label_values(&label).inc();
    }

    pub(crate) fn received(&self, bytes: u64, origin: bool, lan: bool) {
        self.moved("received", bytes, origin, lan);
    }

    pub(crate) fn sent(&self, bytes: u64, origin: bool, lan: bool) {
        self.moved("sent", bytes, origin, lan);
    }

    fn moved(&self, direction: &str, bytes: u64, origin: bool, lan: bool) {
        let source = if origin { "origin" } else { "peer" };
        let scope = if lan { "lan" } else { "wan" };
        self.chunk_bytes
            .with_label_values(&[direction, source, scope])
            .inc_by(bytes);
    }
}
