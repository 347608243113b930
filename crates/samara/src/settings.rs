//! One set of settings out of options, environment, file and defaults.

use std::{
    ffi::OsString,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use directories::ProjectDirs;
use samara_node::{
    EngineError, NodeConfig,
    api::ErrorKind,
    config::{
        DEFAULT_HTTP_PORT, DEFAULT_QUOTA, DEFAULT_TIMEOUT, DEFAULT_WAN_UPLOAD, Dht, DiscoveryConfig,
    },
    limit::{Cap, Line},
    limits::MAX_SITE_LABEL,
};
use serde::{Deserialize, Deserializer, de};

use crate::{
    cli::Globals,
    limits::FileLimits,
    quantity::{parse_duration, parse_rate, parse_size},
};

/// File in the data directory that is read if it is there.
const CONFIG_NAME: &str = "config.toml";

/// A TCP address, or none on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Off,
    At(SocketAddr),
}

impl FromStr for Endpoint {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse()
            .map(Self::At)
            .map_err(|_| "neither `off` nor an address with a port, like 127.0.0.1:7422".to_owned())
    }
}

/// How many releases are kept; `None` for as many as the role implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep(Option<NonZeroU32>);

impl FromStr for Keep {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|count| Self(Some(count)))
            .map_err(|_| "neither `all` nor a number from 1 on".to_owned())
    }
}

/// What every command runs with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) node: NodeConfig,
    /// Whether somebody said which data directory, instead of taking the usual one.
    pub(crate) data_dir_named: bool,
    /// Pages of `samara node`.
    pub(crate) http: Endpoint,
    /// Whether `http` is only the default, so that a taken port may be replaced.
    pub(crate) http_by_default: bool,
    /// Pages of `share` and `get`: only if asked for on this very command.
    pub(crate) http_asked: Endpoint,
    pub(crate) metrics: Endpoint,
    /// Metrics of `share` and `get`, likewise.
    pub(crate) metrics_asked: Endpoint,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) json: bool,
    pub(crate) verbose: u8,
}

/// What the file may say.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FileSettings {
    data_dir: Option<PathBuf>,
    identity: Option<String>,
    listen: Option<SocketAddr>,
    #[serde(deserialize_with = "text")]
    http: Option<Endpoint>,
    #[serde(deserialize_with = "text")]
    metrics: Option<Endpoint>,
    #[serde(deserialize_with = "text")]
    site: Option<Site>,
    #[serde(deserialize_with = "text")]
    timeout: Option<Time>,
    #[serde(deserialize_with = "text")]
    quota: Option<Size>,
    #[serde(deserialize_with = "text")]
    keep_releases: Option<Keep>,
    #[serde(deserialize_with = "text")]
    wan_upload: Option<NodeCap>,
    http_allowed_hosts: Vec<String>,
    threads: Option<usize>,
    external: Vec<SocketAddr>,
    discovery: FileDiscovery,
    limits: FileLimits,
}

/// The file's section about finding others.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FileDiscovery {
    mdns: Option<bool>,
    dht: Option<bool>,
    dht_bootstrap: Vec<String>,
    port_mapping: Option<bool>,
}

impl FileDiscovery {
    /// What is on: all that is by default, but what the file or `--no-mdns` says.
    fn merge(self, no_mdns: bool) -> DiscoveryConfig {
        let standard = DiscoveryConfig::standard();
        DiscoveryConfig {
            mdns: !no_mdns && self.mdns.unwrap_or(standard.mdns),
            dht: match self.dht {
                Some(true) => Dht::On,
                Some(false) => Dht::Off,
                None => standard.dht,
            },
            dht_bootstrap: self.dht_bootstrap,
            port_mapping: self.port_mapping.unwrap_or(standard.port_mapping),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Time(Duration);
#[derive(Debug, PartialEq)]
struct Size(u64);
/// A rate, or `off`.
#[derive(Debug, PartialEq)]
struct NodeCap(Option<u64>);

impl FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse_duration(text).map(Self)
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse_size(text).map(Self)
    }
}

impl FromStr for NodeCap {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let cap = parse_rate(text)?;
        Ok(Self(Cap::try_from(cap)?.rate()))
    }
}

/// A site's label, as long as it may travel.
pub(crate) fn parse_site(text: &str) -> Result<String, String> {
    match text.len() {
        1..=MAX_SITE_LABEL => Ok(text.to_owned()),
        0 => Err("a site's label is not empty".to_owned()),
        len => Err(format!(
            "a site's label has at most {MAX_SITE_LABEL} bytes, this one has {len}"
        )),
    }
}

#[derive(Debug, PartialEq)]
struct Site(String);

impl FromStr for Site {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse_site(text).map(Self)
    }
}

/// Options that were not given, out of the environment. Read here and not with the
/// options: there, one that is given would not keep a bad variable from counting.
pub(crate) fn with_environment(
    globals: &Globals,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Globals, EngineError> {
    // Set to nothing is as good as not set.
    let raw = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut all = globals.clone();
    all.data_dir = all
        .data_dir
        .or_else(|| raw("SAMARA_DATA_DIR").map(Into::into));
    all.config = all.config.or_else(|| raw("SAMARA_CONFIG").map(Into::into));
    let given = |name: &str| raw(name).map(|value| value.to_string_lossy().into_owned());
    all.identity = all.identity.or_else(|| given("SAMARA_IDENTITY"));
    fill(&mut all.listen, "SAMARA_LISTEN", &given, |text| {
        text.parse()
            .map_err(|_| "not an address with a port, like 0.0.0.0:7421".to_owned())
    })?;
    fill(&mut all.http, "SAMARA_HTTP", &given, str::parse)?;
    fill(&mut all.metrics, "SAMARA_METRICS", &given, str::parse)?;
    fill(&mut all.site, "SAMARA_SITE", &given, parse_site)?;
    fill(&mut all.timeout, "SAMARA_TIMEOUT", &given, parse_duration)?;
    fill(&mut all.quota, "SAMARA_QUOTA", &given, parse_size)?;
    fill(
        &mut all.keep_releases,
        "SAMARA_KEEP_RELEASES",
        &given,
        str::parse,
    )?;
    if all.external.is_empty()
        && let Some(text) = given("SAMARA_EXTERNAL")
    {
        let addrs = text.split(',').map(|addr| addr.trim().parse());
        let why = "not addresses with ports, with commas between";
        let addrs = addrs.collect::<Result<_, _>>();
        all.external = addrs.map_err(|_| bad("SAMARA_EXTERNAL", &text, why))?;
    }
    all.no_mdns |= given("SAMARA_NO_MDNS").is_some_and(|text| is_truthy(&text));
    all.json |= given("SAMARA_JSON").is_some_and(|text| is_truthy(&text));
    if all.verbose == 0
        && let Some(text) = given("SAMARA_VERBOSE")
    {
        let count = text.parse::<u8>();
        all.verbose = count.map_err(|_| bad("SAMARA_VERBOSE", &text, "not a small number"))?;
    }
    Ok(all)
}

pub(crate) fn fill<T>(
    option: &mut Option<T>,
    name: &str,
    given: &impl Fn(&str) -> Option<String>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<(), EngineError> {
    if option.is_none()
        && let Some(text) = given(name)
    {
        *option = Some(parse(&text).map_err(|why| bad(name, &text, &why))?);
    }
    Ok(())
}

fn bad(name: &str, text: &str, why: &str) -> EngineError {
    usage(format!("{name} in the environment is `{text}`: {why}"))
}

/// Whether a variable switches something on.
pub(crate) fn is_truthy(text: &str) -> bool {
    let off = ["", "0", "n", "no", "f", "false", "off"];
    !off.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// A value written as text or as a plain number.
fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected text or a number that is not negative")]
    enum Written {
        Text(String),
        Number(u64),
    }
    let written = match Written::deserialize(deserializer)? {
        Written::Text(text) => text,
        Written::Number(number) => number.to_string(),
    };
    written.parse().map(Some).map_err(de::Error::custom)
}

impl Settings {
    /// Reads the file, if there is one, and puts everything together. `daemon`:
    /// whether this is `samara node`.
    pub(crate) fn resolve(globals: &Globals, daemon: bool) -> Result<Self, EngineError> {
        let file = match &globals.config {
            Some(path) => read_file(path)?,
            None => {
                let dir = match &globals.data_dir {
                    Some(dir) => dir.clone(),
                    None => platform_data_dir()?,
                };
                let path = dir.join(CONFIG_NAME);
                let file = if path.is_file() {
                    read_file(&path)?
                } else {
                    FileSettings::default()
                };
                if file.data_dir.is_some() {
                    return Err(usage(format!(
                        "{}: data_dir cannot be set in the data directory's own file",
                        path.display()
                    )));
                }
                file
            }
        };
        let data_dir = match globals.data_dir.clone().or_else(|| file.data_dir.clone()) {
            Some(dir) => dir,
            None => platform_data_dir()?,
        };
        Self::merge(globals, file, absolute(&data_dir)?, daemon)
    }

    fn merge(
        globals: &Globals,
        file: FileSettings,
        data_dir: PathBuf,
        daemon: bool,
    ) -> Result<Self, EngineError> {
        let http = globals.http.or(file.http);
        let data_dir_named = globals.data_dir.is_some() || file.data_dir.is_some();
        let mut limits = file.limits.config().map_err(usage)?;
        // Somebody waits for every other command: only the daemon is polite.
        if daemon {
            let polite = Cap::At(DEFAULT_WAN_UPLOAD);
            let cap = file.wan_upload.map(|cap| cap.0.map_or(Cap::Off, Cap::At));
            limits.defaults.insert(Line::WanUp, polite);
            if let Some(cap) = cap {
                limits.rates.entry(Line::WanUp).or_insert(cap);
            }
        }
        Ok(Self {
            node: NodeConfig {
                identity: globals.identity.clone().or(file.identity),
                listen: globals.listen.or(file.listen),
                site: globals.site.clone().or(file.site.map(|site| site.0)),
                timeout: globals
                    .timeout
                    .or(file.timeout.map(|time| time.0))
                    .unwrap_or(DEFAULT_TIMEOUT),
                quota: globals
                    .quota
                    .or(file.quota.map(|size| size.0))
                    .unwrap_or(DEFAULT_QUOTA),
                keep_releases: globals
                    .keep_releases
                    .or(file.keep_releases)
                    .and_then(|keep| keep.0),
                limits,
                threads: file.threads.unwrap_or(0),
                discovery: file.discovery.merge(globals.no_mdns),
                external: if globals.external.is_empty() {
                    file.external
                } else {
                    globals.external.clone()
                },
                ..NodeConfig::new(data_dir)
            },
            data_dir_named,
            http: http.unwrap_or(Endpoint::At(
                (Ipv4Addr::LOCALHOST, DEFAULT_HTTP_PORT).into(),
            )),
            http_by_default: http.is_none(),
            http_asked: globals.http.unwrap_or(Endpoint::Off),
            metrics: globals.metrics.or(file.metrics).unwrap_or(Endpoint::Off),
            metrics_asked: globals.metrics.unwrap_or(Endpoint::Off),
            allowed_hosts: file.http_allowed_hosts,
            json: globals.json,
            verbose: globals.verbose,
        })
    }
}

fn read_file(path: &Path) -> Result<FileSettings, EngineError> {
    let text = fs::read_to_string(path)
        .map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?;
    parse_file(path, &text)
}

fn parse_file(path: &Path, text: &str) -> Result<FileSettings, EngineError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let place = line.map(|line| format!(":{line}")).unwrap_or_default();
        let message = error.message().replace('\n', " ");
        usage(format!("{}{place}: {message}", path.display()))
    })
}

fn platform_data_dir() -> Result<PathBuf, EngineError> {
    ProjectDirs::from("", "", "samara")
        .map(|dirs| dirs.data_dir().to_owned())
        .ok_or_else(|| usage("this account has no home directory; name one with --data-dir"))
}

/// The path as the engine wants it: from the root, `.` and doubled slashes gone,
/// links and `..` left to the file system.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, EngineError> {
    std::path::absolute(path).map_err(|error: io::Error| {
        usage(format!(
            "`{}` is not a usable path: {error}",
            path.display()
        ))
    })
}

/// The command cannot be carried out as it was given.
pub(crate) fn usage(message: impl Into<String>) -> EngineError {
    EngineError {
        kind: ErrorKind::Usage,
        message: message.into(),
    }
}

#[cfg(test)]
mod tests {
    use samara_node::limit::Rates;

    use super::*;

    fn file(text: &str) -> FileSettings {
        parse_file(Path::new("/etc/samara.toml"), text).unwrap()
    }

    #[test]
    fn options_go_before_the_file_and_the_file_before_defaults() {
        let globals = Globals {
            site: Some("flag".into()),
            ..Globals::default()
        };
        let text = "site = \"file\"\ntimeout = \"5s\"\nlisten = \"127.0.0.1:1\"\nquota = \"1 GiB\"";
        let both = Settings::merge(&globals, file(text), "/d".into(), false).unwrap();
        assert_eq!(both.node.site.as_deref(), Some("flag"));
        assert_eq!(both.node.timeout, Duration::from_secs(5));
        assert_eq!(both.node.listen, Some("127.0.0.1:1".parse().unwrap()));
        assert_eq!(both.node.quota, 1 << 30);

        let none = Settings::merge(&Globals::default(), file(""), "/d".into(), false).unwrap();
        assert_eq!(none.node.timeout, DEFAULT_TIMEOUT);
        assert_eq!(none.node.quota, DEFAULT_QUOTA);
        assert_eq!(none.node.listen, None);
        assert_eq!(none.http, Endpoint::At("127.0.0.1:7422".parse().unwrap()));
        assert!(none.http_by_default);
        assert_eq!(none.metrics, Endpoint::Off);
    }

    #[test]
    fn a_bad_variable_is_named_unless_an_option_goes_before_it() {
        let variable = |name: &str| (name == "SAMARA_LISTEN").then(|| OsString::from("xx"));
        let bare = Globals::default();
        let message = with_environment(&bare, variable).unwrap_err().message;
        assert!(
            message.contains("SAMARA_LISTEN") && message.contains("xx"),
            "{message}"
        );
        let listen = Some("127.0.0.1:0".parse().unwrap());
        let given = Globals { listen, ..bare };
        assert_eq!(with_environment(&given, variable).unwrap().listen, listen);
    }

    #[test]
    fn the_environment_fills_what_is_not_given() {
        let variable = |name: &str| {
            let value = match name {
                "SAMARA_DATA_DIR" => "/d",
                "SAMARA_HTTP" => "off",
                "SAMARA_SITE" => "",
                "SAMARA_TIMEOUT" => "5s",
                "SAMARA_JSON" => "no",
                "SAMARA_NO_MDNS" => "1",
                "SAMARA_EXTERNAL" => "192.0.2.1:7, 192.0.2.2:8",
                "SAMARA_VERBOSE" => "2",
                "SAMARA_QUOTA" => "1 GiB",
                "SAMARA_KEEP_RELEASES" => "3",
                _ => return None,
            };
            Some(value.into())
        };
        let all = with_environment(&Globals::default(), variable).unwrap();
        assert_eq!(all.data_dir.as_deref(), Some(Path::new("/d")));
        assert_eq!((all.http, all.site), (Some(Endpoint::Off), None));
        assert_eq!(all.timeout, Some(Duration::from_secs(5)));
        assert_eq!((all.json, all.verbose), (false, 2));
        assert_eq!(all.quota, Some(1 << 30));
        assert!(all.keep_releases.is_some());
        assert!(all.no_mdns && all.external.len() == 2);
    }

    #[test]
    fn a_site_is_as_long_as_it_may_travel() {
        assert!(parse_site(&"x".repeat(MAX_SITE_LABEL)).is_ok());
        assert!(parse_site(&"x".repeat(MAX_SITE_LABEL + 1)).is_err());
        assert!(parse_site("").is_err());
    }

    #[test]
    fn what_is_kept_can_be_set_everywhere() {
        let kept = |flag: Option<&str>, text: &str| {
            let globals = Globals {
                keep_releases: flag.map(|flag| flag.parse().unwrap()),
                quota: flag.map(|_| 7),
                ..Globals::default()
            };
            let node = Settings::merge(&globals, file(text), "/d".into(), false)
                .unwrap()
                .node;
            (node.keep_releases.map(NonZeroU32::get), node.quota)
        };
        let text = "keep_releases = 3\nquota = 5";
        assert_eq!(kept(None, ""), (None, DEFAULT_QUOTA));
        assert_eq!(kept(None, text), (Some(3), 5));
        assert_eq!(kept(Some("1"), text), (Some(1), 7));
        assert_eq!(kept(Some("all"), text), (None, 7));
        assert!("0".parse::<Keep>().is_err() && "-1".parse::<Keep>().is_err());
    }

    #[test]
    fn only_the_daemon_is_capped() {
        let cap = |text: &str, daemon| {
            Settings::merge(&Globals::default(), file(text), "/d".into(), daemon)
                .unwrap()
                .node
                .limits
        };
        let cap = |text: &str, daemon| {
            let config = cap(text, daemon);
            let of = |rates: &Rates| rates.get(&Line::WanUp).map(|cap| cap.rate());
            of(&config.rates).or(of(&config.defaults)).flatten()
        };
        assert_eq!(cap("", true), Some(DEFAULT_WAN_UPLOAD));
        assert_eq!(cap("wan_upload = \"1 MB/s\"", true), Some(1_000_000));
        assert_eq!(cap("wan_upload = \"off\"", true), None);
        assert_eq!(cap("wan_upload = \"1 MB/s\"", false), None);
        let section = "wan_upload = \"off\"\n[limits]\nwan_up = \"3 MB/s\"";
        assert_eq!(cap(section, true), Some(3_000_000));
        assert_eq!(
            cap(section, false),
            Some(3_000_000),
            "what is said holds for all"
        );
    }

    #[test]
    fn each_way_of_being_found_has_a_switch() {
        let merged = |text: &str, globals: &Globals| {
            Settings::merge(globals, file(text), "/d".into(), true)
                .unwrap()
                .node
        };
        let none = Globals::default();
        assert_eq!(merged("", &none).discovery, DiscoveryConfig::standard());
        let off = "[discovery]\nmdns = false\ndht = false\nport_mapping = false";
        assert_eq!(merged(off, &none).discovery, DiscoveryConfig::default());
        let own = "[discovery]\ndht = true\ndht_bootstrap = [\"dht.example:6881\"]";
        let own = merged(own, &none).discovery;
        assert_eq!(own.dht, Dht::On);
        assert_eq!(own.dht_bootstrap, ["dht.example:6881"]);
        let flags = Globals {
            no_mdns: true,
            external: vec!["192.0.2.1:1".parse().unwrap()],
            ..Globals::default()
        };
        let file = "external = [\"192.0.2.2:2\"]\n[discovery]\nmdns = true";
        let both = merged(file, &flags);
        assert!(!both.discovery.mdns);
        assert_eq!(both.external, flags.external);
        assert_eq!(
            merged(file, &none).external,
            ["192.0.2.2:2".parse().unwrap()]
        );
    }

    #[test]
    fn the_file_alone_opens_no_pages_for_share_and_get() {
        let text = "http = \"127.0.0.1:1\"\nmetrics = \"0.0.0.0:2\"";
        let settings =
            Settings::merge(&Globals::default(), file(text), "/d".into(), false).unwrap();
        assert_eq!(settings.http, Endpoint::At("127.0.0.1:1".parse().unwrap()));
        assert_eq!(settings.http_asked, Endpoint::Off);
        assert_eq!(settings.metrics_asked, Endpoint::Off);
    }

    #[test]
    fn mistakes_in_the_file_are_named_with_their_place() {
        for (text, part) in [
            ("\nspeed = 1", "unknown field `speed`"),
            ("\nquota = \"lots\"", "lots"),
            ("\nwan_upload = 0", "off"),
            ("\nquota = -1", "negative"),
            ("\nkeep_releases = 0", "from 1 on"),
            ("\nhttp = \"on\"", "off"),
            ("\nsite = \"\"", "empty"),
        ] {
            let message = parse_file(Path::new("/etc/samara.toml"), text)
                .unwrap_err()
                .message;
            assert!(message.starts_with("/etc/samara.toml:2: "), "{message}");
            assert!(message.contains(part), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn the_data_directory_has_no_say_in_where_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CONFIG_NAME), "data_dir = \"/elsewhere\"").unwrap();
        let globals = Globals {
            data_dir: Some(dir.path().to_owned()),
            ..Globals::default()
        };
        assert!(Settings::resolve(&globals, false).is_err());
        let named = Globals {
            config: Some(dir.path().join(CONFIG_NAME)),
            ..Globals::default()
        };
        let settings = Settings::resolve(&named, false).unwrap();
        assert_eq!(settings.node.data_dir, Path::new("/elsewhere"));
    }

    #[test]
    fn relative_paths_become_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute(Path::new("./a//b/.")).unwrap(), here.join("a/b"));
        assert_eq!(
            absolute(Path::new("/x/../y")).unwrap(),
            Path::new("/x/../y")
        );
        assert!(absolute(Path::new("")).is_err());
    }
}
