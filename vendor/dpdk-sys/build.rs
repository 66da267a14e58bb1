//! Finds DPDK by pkg-config, generates the bindings, compiles the shim, and links both.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "link")]
    if let Err(error) = link::link() {
        eprintln!("dpdk-sys: {error}");
        std::process::exit(1);
    }
}

#[cfg(feature = "link")]
mod link {
    use std::env;
    use std::path::PathBuf;
    use std::process::Command;

    /// Oldest and newest release whose structures the shim knows.
    const OLDEST: (u32, u32) = (22, 11);
    const NEWEST: (u32, u32) = (24, 11);

    const HEADERS: [&str; 5] = [
        "shim.h",
        "shim_aead.h",
        "shim_ec.h",
        "shim_device.h",
        "shim_port.h",
    ];
    const SOURCES: [&str; 5] = [
        "shim.c",
        "shim_aead.c",
        "shim_ec.c",
        "shim_device.c",
        "shim_port.c",
    ];

    /// What is called. (pkg-config's list has forty more, and EAL loads the drivers by itself.)
    const LIBRARIES: [&str; 9] = [
        "rte_cryptodev",
        "rte_ethdev",
        "rte_net",
        "rte_mbuf",
        "rte_mempool",
        "rte_ring",
        "rte_eal",
        "rte_telemetry",
        "rte_kvargs",
    ];

    /// What is bound, by prefix.
    const FUNCTIONS: &str = "shim_.*|rte_eal_(init|cleanup|hotplug_.*|has_hugepages|remote_launch|\
        mp_wait_lcore|mp_remote_launch|wait_lcore)|rte_thread_(register|unregister)|\
        rte_lcore_count|rte_get_(main_lcore|next_lcore)|rte_socket_id|rte_strerror|rte_version|rte_cryptodev_.*|\
        rte_crypto_op_pool_create|rte_mempool_(free|avail_count|in_use_count)|rte_(z?malloc|free)|\
        rte_malloc_(get_socket_stats|virt2iova)|rte_pktmbuf_pool_create|rte_eth_dev_.*|\
        rte_eth_[rt]x_queue_setup|rte_eth_(promiscuous|allmulticast)_enable|rte_eth_macaddr_get";
    const CONSTANTS: &str =
        "RTE_CRYPTO.*|rte_crypto_fp_ops|SHIM_.*|RTE_MAX_LCORE|LCORE_ID_ANY|SOCKET_ID_ANY|RTE_VER.*";
    const TYPES: &str = "rte_crypto.*|rte_cryptodev.*|shim_.*";

    pub fn link() -> Result<(), String> {
        for file in HEADERS.iter().chain(&SOURCES) {
            println!("cargo::rerun-if-changed={file}");
        }
        println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
        let version = pkg_config("--modversion")?;
        check(version.trim())?;
        let flags = pkg_config("--cflags")?;
        let flags: Vec<&str> = flags.split_whitespace().collect();

        let mut build = cc::Build::new();
        build.files(SOURCES).warnings(false);
        flags.iter().for_each(|flag| {
            build.flag(flag);
        });
        build
            .try_compile("dpdk_shim")
            .map_err(|error| error.to_string())?;

        let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
        bindgen::Builder::default()
            .header("shim.h")
            .clang_args(&flags)
            .allowlist_function(FUNCTIONS)
            .allowlist_var(CONSTANTS)
            .allowlist_type(TYPES)
            .allowlist_recursively(true)
            .prepend_enum_name(false)
            .derive_debug(false)
            .derive_default(true)
            .layout_tests(false)
            .generate_comments(false)
            .generate()
            .map_err(|error| format!("{error}; bindgen needs libclang: install libclang-dev"))?
            .write_to_file(out.join("bindings.rs"))
            .map_err(|error| error.to_string())?;

        for path in pkg_config("--libs-only-L")?.split_whitespace() {
            println!(
                "cargo::rustc-link-search=native={}",
                path.trim_start_matches("-L")
            );
        }
        for library in LIBRARIES {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
        Ok(())
    }

    /// What pkg-config says of DPDK.
    fn pkg_config(question: &str) -> Result<String, String> {
        let missing = "DPDK is missing; install libdpdk-dev and libclang-dev (`make setup` does), \
             or build without the feature `dpdk`";
        let answer = Command::new("pkg-config")
            .args([question, "libdpdk"])
            .output()
            .map_err(|error| format!("pkg-config: {error}; install pkg-config"))?;
        if !answer.status.success() {
            return Err(format!(
                "{missing}\n{}",
                String::from_utf8_lossy(&answer.stderr)
            ));
        }
        String::from_utf8(answer.stdout).map_err(|error| error.to_string())
    }

    /// Refuses a release whose structures the shim does not know.
    fn check(version: &str) -> Result<(), String> {
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
        let (Some(Some(year)), Some(Some(month))) = (numbers.next(), numbers.next()) else {
            return Err(format!(
                "pkg-config gives DPDK the version {version:?}, which is none"
            ));
        };
        if (year, month) < OLDEST {
            return Err(format!("DPDK {version} is too old; install 22.11 or newer"));
        }
        if (year, month) > NEWEST {
            println!(
                "cargo::warning=DPDK {version} is newer than 24.11, the last that was looked at"
            );
        }
        Ok(())
    }
}
