//! What `riptide sidecar` and the tools around it need to know, with types.

use std::ffi::OsStr;
use std::net::IpAddr;

use seaweed::ServerAddress;
use sidecar::Config;
use sidecar::config::{Advertise, FABRIC_OFFSET, Transports, parse_bytes};
use volume::VerifyRanges;

use super::SIDECAR_USER;
use super::users::users;
use crate::flags::{FlagError, Values};
use crate::run::{DoctorOptions, NeedleAction, NeedleOptions};

/// The least memory that is of any use: a piece of a needle for each of a few readers.
const MIN_MEMORY: u64 = 16 << 20;

/// Reads what the flags say.
///
/// # Errors
/// Names the flag, its value and what is allowed.
pub fn sidecar_config(values: &Values) -> Result<Config, FlagError> {
    let port: u16 = values.count("port");
    let config = Config {
        bind: bind(values.text("bind")?)?,
        port,
        fabric_port: fabric_port(port, values.count("fabric-port"))?,
        socket: values.path("socket"),
        transports: transports(values)?,
        short_circuit: values.switch("short-circuit"),
        device: some(values.text("device")?),
        max_clients: values.count("max-clients"),
        memory_limit: memory_limit(values.text("memory-limit")?)?,
        volume_servers: addresses("volume-server", values)?,
        dirs: values.os_list("dir").iter().map(Into::into).collect(),
        idx_dir: values.path("dir.idx"),
        index_dir: values.path("index-dir"),
        index_dir_limit: index_dir_limit(values.text("index-dir-limit")?)?,
        filers: addresses("filer", values)?,
        verify_ranges: match values.text("verify-ranges")? {
            "always" => VerifyRanges::Always,
            "never" => VerifyRanges::Never,
            _ => VerifyRanges::Cached,
        },
        advertise: advertise(values.text("advertise")?)?,
        data_center: values.text("dataCenter")?.to_owned(),
        rack: values.text("rack")?.to_owned(),
        config_dir: values.path("config_dir"),
    };
    if let (Some(device), false) = (&config.device, config.transports.rdma) {
        let expected = "none, since RDMA is not offered; -enable-rdma does";
        return Err(FlagError::bad("device", device, expected));
    }
    if config.volume_servers.is_empty() && config.dirs.is_empty() {
        return Err(FlagError::Missing {
            name: "-volume-server or -dir",
        });
    }
    Ok(config)
}

/// What `riptide needle ACTION TARGET` needs to know.
///
/// # Errors
/// Names the word or flag.
pub fn needle_options(
    action: &OsStr,
    target: &OsStr,
    values: &Values,
) -> Result<NeedleOptions, FlagError> {
    let action = match action.to_str() {
        Some("get") => NeedleAction::Get,
        Some("stat") => NeedleAction::Stat,
        Some("verify") => NeedleAction::Verify,
        _ => {
            return Err(FlagError::Unexpected {
                word: action.to_string_lossy().into_owned(),
                expected: "get, stat or verify",
            });
        }
    };
    Ok(NeedleOptions {
        action,
        target: target.into(),
        dirs: values.os_list("dir").iter().map(Into::into).collect(),
        idx_dir: values.path("dir.idx"),
        output: values.path("output"),
        raw: values.switch("raw"),
        json: values.switch("json"),
    })
}

/// What `riptide doctor` needs to know.
///
/// # Errors
/// Names the flag.
pub fn doctor_options(values: &Values) -> Result<DoctorOptions, FlagError> {
    Ok(DoctorOptions {
        filers: addresses("filer", values)?,
        sidecars: addresses("sidecar", values)?,
        sidecar_users: users(SIDECAR_USER, values.text(SIDECAR_USER)?)?,
        config_dir: values.path("config_dir"),
    })
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn bind(text: &str) -> Result<Option<IpAddr>, FlagError> {
    if text.is_empty() {
        return Ok(None);
    }
    let expected = "an IP address of this machine, such as 127.0.0.1 or ::";
    let ip = text
        .parse()
        .map_err(|_| FlagError::bad("bind", text, expected))?;
    Ok(Some(ip))
}

fn fabric_port(port: u16, told: u16) -> Result<u16, FlagError> {
    // With any HTTP port, the system also chooses the other.
    if told != 0 || port == 0 {
        return Ok(told);
    }
    port.checked_add(FABRIC_OFFSET).ok_or_else(|| {
        let expected = format!("a port, since -port={port} and {FABRIC_OFFSET} is none");
        FlagError::bad("fabric-port", "", expected)
    })
}

fn transports(values: &Values) -> Result<Transports, FlagError> {
    let text = values.text("transports")?;
    Transports::parse(text, values.switch("enable-rdma"))
        .map_err(|expected| FlagError::bad("transports", text, expected))
}

fn memory_limit(text: &str) -> Result<u64, FlagError> {
    let bad = |expected: &str| FlagError::bad("memory-limit", text, expected);
    let bytes = parse_bytes(text).map_err(bad)?;
    if bytes < MIN_MEMORY {
        return Err(bad("at least 16MiB"));
    }
    Ok(bytes)
}

fn index_dir_limit(text: &str) -> Result<u64, FlagError> {
    parse_bytes(text).map_err(|expected| FlagError::bad("index-dir-limit", text, expected))
}

fn addresses(name: &'static str, values: &Values) -> Result<Vec<ServerAddress>, FlagError> {
    let mut all: Vec<ServerAddress> = Vec::new();
    for text in values.list(name)? {
        let address = text.parse().map_err(|error| {
            FlagError::bad(name, text, format!("host:port[.grpcPort] ({error})"))
        })?;
        if !all.contains(&address) {
            all.push(address);
        }
    }
    Ok(all)
}

fn advertise(text: &str) -> Result<Option<Advertise>, FlagError> {
    if text.is_empty() {
        return Ok(None);
    }
    let told = Advertise::parse(text);
    told.map(Some)
        .map_err(|expected| FlagError::bad("advertise", text, expected))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::invocation::{Action, Invocation};

    fn parse(line: &str) -> Result<Config, String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        match Invocation::parse(&words)
            .map_err(|error| error.to_string())?
            .action
        {
            Action::Sidecar(config) => Ok(*config),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let config = parse("sidecar -volume-server=a:8080").unwrap();
        assert_eq!((config.port, config.fabric_port), (8081, 18081));
        assert_eq!((config.bind, config.max_clients), (None, 1024));
        assert_eq!(config.memory_limit, 1 << 30);
        assert_eq!(config.transports.to_string(), "shm,tcp");
        assert_eq!(config.verify_ranges, VerifyRanges::Cached);
        assert!(config.dirs.is_empty() && config.filers.is_empty());
        assert_eq!((config.index_dir, config.index_dir_limit), (None, 16 << 30));
    }

    #[test]
    fn lists_are_given_in_either_way() {
        let line = "sidecar --volume-server a:8080 --volume-server=b:8080,c:8080.1 --dir /x,/y -dir=/z --filer f:8888";
        let config = parse(line).unwrap();
        let servers: Vec<_> = config
            .volume_servers
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(servers, ["a:8080", "b:8080", "c:8080.1"]);
        assert_eq!(config.dirs.len(), 3);
        assert_eq!(config.filers.len(), 1);
    }

    #[test]
    fn the_prototypes_flags_and_those_of_go_are_understood() {
        let config = parse("sidecar --port 9000 --enable-rdma --debug -dir=/x").unwrap();
        assert_eq!((config.port, config.fabric_port), (9000, 19000));
        assert!(config.transports.rdma);
        let config = parse("sidecar -dir=/x -index-dir /y -index-dir-limit=1G").unwrap();
        let (dir, limit) = (config.index_dir.unwrap(), config.index_dir_limit);
        assert_eq!((dir.to_str(), limit), (Some("/y"), 1 << 30));
        let config = parse("-v=3 sidecar -enable-rdma=false -dir=/x -port=0").unwrap();
        assert_eq!((config.port, config.fabric_port), (0, 0));
        assert!(!config.transports.rdma);
    }

    #[test]
    fn debug_is_a_verbosity_and_takes_none_away() {
        let verbosity = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            Invocation::parse(&words).unwrap().logging.verbosity
        };
        assert_eq!(verbosity("sidecar -dir=/x -debug"), 2);
        assert_eq!(verbosity("sidecar -dir=/x -debug -v=4"), 4);
        assert_eq!(verbosity("sidecar -dir=/x"), 0);
    }

    #[test]
    fn the_command_line_wins_over_the_file_also_for_lists() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "port = 9001\nvolume-server = [\"a:1\", \"b:1\"]\nfiler = \"f:1,g:1\"\n";
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().display();
        let config = parse(&format!("sidecar -config={path}")).unwrap();
        assert_eq!((config.port, config.volume_servers.len()), (9001, 2));
        assert_eq!(config.filers.len(), 2);
        let line = format!("sidecar -config={path} -port 9002 -volume-server=c:1");
        let config = parse(&line).unwrap();
        assert_eq!((config.port, config.volume_servers.len()), (9002, 1));

        std::fs::write(file.path(), "prot = 9001\n").unwrap();
        let error = parse(&format!("sidecar -config={path}")).unwrap_err();
        let expected = format!("{path}: flag -prot does not exist; did you mean -port?");
        assert_eq!(error, expected);
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for (flags, error) in [
            ("-port=8081", "missing argument -volume-server or -dir"),
            (
                "-dir=/x -bind=here",
                "flag -bind: \"here\" is not allowed: expected an IP address of this machine, such as 127.0.0.1 or ::",
            ),
            (
                "-dir=/x -port=60000",
                "flag -fabric-port: \"\" is not allowed: expected a port, since -port=60000 and 10000 is none",
            ),
            (
                "-dir=/x -transports=udp",
                "flag -transports: \"udp\" is not allowed: expected auto, or some of rdma, shm and tcp, separated by commas",
            ),
            (
                "-dir=/x -transports=tcp -enable-rdma",
                "flag -transports: \"tcp\" is not allowed: expected rdma among them, since -enable-rdma is given",
            ),
            (
                "-dir=/x -device=mlx5_0",
                "flag -device: \"mlx5_0\" is not allowed: expected none, since RDMA is not offered; -enable-rdma does",
            ),
            (
                "-dir=/x -memory-limit=1M",
                "flag -memory-limit: \"1M\" is not allowed: expected at least 16MiB",
            ),
            (
                "-dir=/x -memory-limit=lots",
                "flag -memory-limit: \"lots\" is not allowed: expected a number of bytes, such as 512MiB or 1G",
            ),
            (
                "-dir=/x -index-dir-limit=all",
                "flag -index-dir-limit: \"all\" is not allowed: expected a number of bytes, such as 512MiB or 1G",
            ),
            (
                "-dir=/x -max-clients=0",
                "flag -max-clients: \"0\" is not allowed: expected a whole number from 1 to 1000000",
            ),
            (
                "-dir=/x -advertise=a:b",
                "flag -advertise: \"a:b\" is not allowed: expected a host name or address, with or without a port",
            ),
        ] {
            assert_eq!(
                parse(&format!("sidecar {flags}")).unwrap_err(),
                error,
                "{flags}"
            );
        }
        let error = parse("sidecar -volume-server=a").unwrap_err();
        assert!(
            error.starts_with("flag -volume-server: \"a\" is not allowed: expected host:port"),
            "{error}"
        );
    }
}
