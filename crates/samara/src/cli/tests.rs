use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_overview_names_every_command_once() {
    for command in Cli::command().get_subcommands() {
        let line = format!("\n  {:<13} ", command.get_name());
        assert_eq!(OVERVIEW.matches(&line).count(), 1, "{}", command.get_name());
    }
}

#[test]
fn global_options_stand_before_and_after_the_command() {
    for line in [
        "samara --json --listen 127.0.0.1:0 status",
        "samara status --json --listen 127.0.0.1:0",
    ] {
        let cli = parse(line).unwrap();
        assert!(cli.globals.json, "{line}");
        assert_eq!(cli.globals.listen, Some("127.0.0.1:0".parse().unwrap()));
    }
    let off = parse("samara node --http off").unwrap().globals.http;
    assert_eq!(off, Some(Endpoint::Off));
    assert_eq!(parse("samara -vv node").unwrap().globals.verbose, 2);
}

#[test]
fn the_issue_table_parses() {
    for line in [
        "samara share p",
        "samara ls samara:x",
        "samara get samara:x -o d --only a --only b --seed --force",
        "samara channel create n",
        "samara channel list",
        "samara channel show c --json",
        "samara channel edit c --add-root a --threshold 2 --presence off --announced on",
        "samara channel sign f --identity root",
        "samara channel apply f",
        "samara channel choose c abcd",
        "samara link n",
        "samara link n --qr",
        "samara invite n --qr",
        "samara record retract c --kind 70000 --key k",
        "samara invite n --expires 2d --member-for 1y",
        "samara publish c p --version 1 --notes f",
        "samara unpublish c 1",
        "samara post c f.md --subject s --attach a --attach b",
        "samara subscribe samara:x --into d --once",
        "samara subscribe samara:x --wait",
        "samara unsubscribe c",
        "samara mirror samara:x --wait",
        "samara read",
        "samara read c 1",
        "samara node",
        "samara tell c p -",
        "samara status",
        "samara peers",
        "samara explain x",
        "samara limit",
        "samara limit --channel c --up 5MB/s --lan-down off --reset",
        "samara limit --leech on --no-wan off --max-connections 9 --upload-slots 2 --upload-policy average",
        "samara pause",
        "samara resume c",
        "samara node --up 5MB/s --wan-down off --leech --no-wan --upload-slots 2 --upload-policy last",
        "samara get samara:x --in-order --down 8Mbit/s",
        "samara get samara:x --stdout",
        "samara publish c p --priority urgent",
        "samara gc --dry-run",
        "samara forget x",
        "samara id",
        "samara id export f --password-file p",
        "samara id import f name --force",
        "samara id list",
        "samara id create n",
        "samara id default n",
        "samara id delete n",
        "samara demo",
        "samara demo p",
    ] {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn contradictions_are_refused() {
    for line in [
        "samara",
        "samara subscribe samara:x --once --wait",
        "samara --listen somewhere node",
        "samara --http on node",
        "samara --timeout 0 status",
        "samara limit --up 0",
        "samara limit --channel c --leech on",
        "samara node --max-connections 0",
        "samara publish c p --priority high",
        "samara fly",
        "samara link n --qr --json",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
