//! The binary `samara`: arguments, configuration, progress. Everything else is in
//! the engine, `samara_node`.

mod cli;
mod daemon;
mod demo;
mod fresh;
mod identity;
mod limits;
mod plan;
mod quantity;
mod report;
mod run;
mod servers;
mod settings;
mod terminal;

use std::{
    env,
    io::{IsTerminal, stderr},
    process::ExitCode,
};

use clap::{Parser, error::ErrorKind as ClapKind};
use cli::{ChannelCommand, Cli, Command, Globals};
use plan::Plan;
use samara_node::{EngineError, api::ErrorKind};
use settings::{Settings, is_truthy, usage, with_environment};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let fail = |json, error: &EngineError| {
        report::failure(json, error);
        ExitCode::from(error.kind.exit_status())
    };
    let globals = match with_environment(&cli.globals, |name| env::var_os(name)) {
        Ok(globals) => globals,
        Err(error) => return fail(wants_json(), &error),
    };
    match carry_out(&globals, &cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(globals.json, &error),
    }
}

/// Whether events are wanted, where the options could not be read.
fn wants_json() -> bool {
    env::args_os().any(|arg| arg == "--json")
        || env::var_os("SAMARA_JSON").is_some_and(|value| is_truthy(&value.to_string_lossy()))
}

/// Help and version are answers; everything else is a mistake, told in clap's
/// words, and to scripts as an event.
fn refuse(error: &clap::Error) -> ExitCode {
    let mistake = error.use_stderr();
    // Nothing can be done if this cannot be printed.
    let _ = error.print();
    if !mistake {
        return ExitCode::SUCCESS;
    }
    if wants_json() && error.kind() != ClapKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = report::write_line(&samara_node::api::Event::Error {
            kind: ErrorKind::Usage,
            message: in_one_line(&error.render().to_string()),
        });
    }
    ExitCode::from(ErrorKind::Usage.exit_status())
}

/// The first paragraph of clap's words: what is wrong, and of what.
fn in_one_line(text: &str) -> String {
    let paragraph = text.lines().take_while(|line| !line.trim().is_empty());
    let line = paragraph.map(str::trim).collect::<Vec<_>>().join(" ");
    line.trim_start_matches("error: ").to_owned()
}

fn carry_out(globals: &Globals, command: &Command) -> Result<(), EngineError> {
    let daemon = matches!(command, Command::Node { .. });
    if !daemon {
        // A daemon goes on when nobody reads what it prints.
        report::check_output()?;
    }
    let settings = resolve(globals, command)?;
    if settings.json && matches!(command, Command::Get { stdout: true, .. }) {
        return Err(usage("--stdout and --json both want standard output"));
    }
    log_to_stderr(daemon, settings.verbose);
    // The engine has threads of its own; this one only talks to the user.
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| EngineError {
            kind: ErrorKind::Internal,
            message: format!("cannot start: {error}"),
        })?;
    let outcome = runtime.block_on(async {
        if let Command::Id {
            action: Some(action),
        } = command
        {
            return identity::run(&settings, action).await;
        }
        if let Command::Channel(ChannelCommand::Sign { file, show }) = command {
            return identity::sign(&settings, file, *show);
        }
        if settings.node.identity.is_some() {
            identity::refuse_another(&settings).await?;
        }
        let interrupt = interrupted(command)?;
        match command {
            Command::Node {
                exit_with_parent, ..
            } => {
                let again = || resolve(globals, command).map(|settings| settings.node.limits);
                daemon::run(&settings, *exit_with_parent, interrupt, again).await
            }
            Command::Demo { path } => demo::run(&settings, path.as_deref(), interrupt).await,
            other => match Plan::of(other)? {
                Some(plan) => run::request(&settings, plan, interrupt).await,
                None => Err(usage("this command cannot be carried out")),
            },
        }
    });
    // Whatever still blocks (a read of a pipe, say) must not hold the exit up.
    runtime.shutdown_background();
    outcome
}

/// All settings that a command runs with.
fn resolve(globals: &Globals, command: &Command) -> Result<Settings, EngineError> {
    let daemon = matches!(command, Command::Node { .. });
    let mut settings = Settings::resolve(globals, daemon)?;
    let flags = command
        .limits()
        .with_environment(|name| env::var_os(name))?;
    flags.put(&mut settings.node.limits);
    Ok(settings)
}

/// Cancelled by the first SIGINT or SIGTERM, and by a terminal that is closed (SIGHUP)
/// unless that is ignored, as `nohup` has it, or this is the daemon. The second one
/// ends the process at once; but not a demonstration, which has processes and files
/// to remove and is soon done with it.
fn interrupted(command: &Command) -> Result<CancellationToken, EngineError> {
    let fail = |error: std::io::Error| EngineError {
        kind: ErrorKind::Internal,
        message: format!("cannot listen for signals: {error}"),
    };
    let mut int = signal(SignalKind::interrupt()).map_err(fail)?;
    let mut term = signal(SignalKind::terminate()).map_err(fail)?;
    let mut hup = match command {
        Command::Node { .. } => None,
        _ if hangup_is_ignored() => None,
        _ => Some(signal(SignalKind::hangup()).map_err(fail)?),
    };
    let patient = matches!(command, Command::Demo { .. });
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                () = heard(&mut hup) => {}
            }
            if first {
                cancel.cancel();
            }
            if patient {
                // A signal that is once caught never ends the process any more.
                return;
            }
        }
        std::process::exit(ErrorKind::Interrupted.exit_status().into());
    });
    Ok(token)
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this process was started with SIGHUP ignored (proc_pid_status(5), `SigIgn`).
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 != 0)
}

/// The daemon tells what happens; other commands only with `-v`.
fn log_to_stderr(daemon: bool, verbose: u8) {
    let levels = if daemon {
        [
            "warn,samara=info",
            "info,samara=debug",
            "debug,samara=trace",
        ]
    } else {
        ["off,samara=error", "warn,samara=info", "info,samara=trace"]
    };
    let filter = levels[usize::from(verbose).min(levels.len() - 1)];
    let colours = stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(stderr)
        .with_ansi(colours)
        .init();
}
