//! Values of build flags that are small languages: pairs, hosts, limits.

use std::net::IpAddr;

use kiln_runtime::{Resources, Ulimit, UlimitName};

use kiln_docker::units::parse_size;

/// Where RUN reaches this machine: it shares its network, so that is the loopback address.
const HOST_GATEWAY: &str = "127.0.0.1";

/// Parses `host=ip`, `host:ip`, or with several addresses separated by commas.
pub(crate) fn parse_extra_host(text: &str) -> Result<Vec<(String, String)>, String> {
    let invalid = || format!("invalid host {text}: expected NAME=ADDRESS");
    let (host, addresses) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(invalid)?;
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(invalid());
    }
    let pair = |address: &str| {
        if address == "host-gateway" {
            return Ok((host.to_owned(), HOST_GATEWAY.to_owned()));
        }
        let bare = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(address);
        let address: IpAddr = bare.parse().map_err(|_| invalid())?;
        Ok((host.to_owned(), address.to_string()))
    };
    addresses.split(',').map(pair).collect()
}

/// Parses `name=soft[:hard]`; -1 is unlimited.
pub(crate) fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    let invalid = || format!("invalid ulimit argument: {text}");
    let (name, limits) = text.split_once('=').ok_or_else(invalid)?;
    let resource = UlimitName::parse(name).ok_or_else(|| format!("invalid ulimit type: {name}"))?;
    let limit = |number: &str| match number.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(number) => u64::try_from(number).map(Some).map_err(|_| invalid()),
        Err(_) => Err(invalid()),
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (limit(soft)?, limit(hard)?),
        None => (limit(limits)?, limit(limits)?),
    };
    let number = |limit: Option<u64>| limit.map_or("-1".to_owned(), |n| n.to_string());
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {} > {}",
            number(soft),
            number(hard)
        ));
    }
    Ok(Ulimit {
        resource,
        soft,
        hard,
    })
}

/// Enters one `key=value` of `--resource`.
pub(crate) fn set_resource(
    resources: &mut Resources,
    key: &str,
    value: &str,
) -> Result<(), String> {
    let number = || {
        value
            .parse::<u64>()
            .map_err(|_| format!("invalid value {value:?} for resource {key}"))
    };
    let size = || parse_size(value).map_err(|error| error.to_string());
    match key {
        "memory" => resources.memory_bytes = Some(size()?),
        "memory-swap" if value == "-1" => resources.memory_and_swap_bytes = None,
        "memory-swap" => resources.memory_and_swap_bytes = Some(size()?),
        "cpu-shares" => resources.cpu_shares = Some(number()?),
        "cpu-period" => resources.cpu_period_microseconds = Some(number()?),
        "cpu-quota" => resources.cpu_quota_microseconds = Some(number()?),
        "cpuset-cpus" => resources.cpuset_cpus = Some(value.to_owned()),
        "cpuset-mems" => resources.cpuset_mems = Some(value.to_owned()),
        _ => return Err(format!("unknown resource {key:?}")),
    }
    Ok(())
}

/// Splits `key=value`, or leaves a bare key.
pub(crate) fn split_pair(text: &str) -> (&str, Option<&str>) {
    match text.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    }
}

/// Returns the pairs of a file of `KEY=VALUE` lines; `#` begins a comment.
pub(crate) fn parse_build_arguments_file(text: &str) -> Vec<(&str, Option<&str>)> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(split_pair)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_addresses() {
        let host = |text| {
            parse_extra_host(text).map(|pairs| {
                let pairs = pairs.iter().map(|(host, ip)| format!("{host} {ip}"));
                pairs.collect::<Vec<_>>().join(", ")
            })
        };
        for (text, expected) in [
            ("db:10.0.0.7", "db 10.0.0.7"),
            ("db=10.0.0.7", "db 10.0.0.7"),
            ("db=10.0.0.7,fe80::1", "db 10.0.0.7, db fe80::1"),
            ("v6=[::1]", "v6 ::1"),
            ("v6:::1", "v6 ::1"),
            ("me=host-gateway", "me 127.0.0.1"),
        ] {
            assert_eq!(host(text).unwrap(), expected, "{text}");
        }
        for text in ["db", "db=", "=1.2.3.4", "db=somewhere", "d b=1.2.3.4"] {
            assert_eq!(
                host(text),
                Err(format!("invalid host {text}: expected NAME=ADDRESS"))
            );
        }
    }

    #[test]
    fn ulimits_are_ordered() {
        let limit = parse_ulimit("nofile=10:20").unwrap();
        assert_eq!((limit.soft, limit.hard), (Some(10), Some(20)));
        let limit = parse_ulimit("core=-1").unwrap();
        assert_eq!((limit.soft, limit.hard), (None, None));
        for (text, message) in [
            ("nofile", "invalid ulimit argument: nofile"),
            ("files=1", "invalid ulimit type: files"),
            (
                "nofile=20:10",
                "ulimit soft limit must be less than or equal to hard limit: 20 > 10",
            ),
            (
                "nofile=-1:10",
                "ulimit soft limit must be less than or equal to hard limit: -1 > 10",
            ),
            ("nofile=a", "invalid ulimit argument: nofile=a"),
        ] {
            assert_eq!(parse_ulimit(text), Err(message.to_owned()));
        }
    }

    #[test]
    fn resources_are_numbers_and_sizes() {
        let mut resources = Resources::default();
        for (key, value) in [
            ("memory", "1g"),
            ("cpu-quota", "50000"),
            ("cpuset-cpus", "0-1"),
        ] {
            set_resource(&mut resources, key, value).unwrap();
        }
        assert_eq!(resources.memory_bytes, Some(1 << 30));
        assert_eq!(resources.cpu_quota_microseconds, Some(50_000));
        assert!(set_resource(&mut resources, "memory", "much").is_err());
        assert!(set_resource(&mut resources, "disk", "1").is_err());
    }

    #[test]
    fn files_of_arguments_have_comments() {
        assert_eq!(
            parse_build_arguments_file("# all\nA=1\n\n  B=x=y\nC\n"),
            [("A", Some("1")), ("B", Some("x=y")), ("C", None)]
        );
    }
}
