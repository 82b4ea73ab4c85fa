//! Addresses as others reach them.

use super::*;

#[test]
fn what_others_are_told_can_be_called() {
    let everywhere = |addr: &str, more: &str| {
        format!(
            "store = {{ kind = 'redis', redis_url = 'redis://h' }}\ncluster.secret = '0123456789abcdef'\n\
             node.addr = '{addr}'\n{more}"
        )
    };
    for addr in ["0.0.0.0:8702", "[::]:8702"] {
        let fault = Setup::new(&everywhere(addr, "")).fault();
        assert!(fault.contains("set node.advertise_addr"), "{fault}");
        assert!(fault.contains("tidepool.toml:3"), "{fault}");
        let told = everywhere(addr, "node.advertise_addr = 'node1:8702'");
        assert!(Setup::new(&told).load().is_ok(), "{told}");
    }
    assert!(Setup::new(&everywhere("10.0.0.7:8702", "")).load().is_ok());
    let alone = "node.addr = '0.0.0.0:8702'\ncluster.secret = '0123456789abcdef'";
    assert!(Setup::new(alone).load().is_ok(), "nobody is told");
    let fault = Setup::new("http.operator_advertise_addr = 'controller1'").fault();
    assert!(fault.contains("must be HOST:PORT"), "{fault}");
}
