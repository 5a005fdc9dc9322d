import assert from "node:assert/strict";
import { test } from "node:test";
import { podAddress } from "./pod-addresses.ts";
import { parsePortmapConf } from "./portmap-conf.ts";
import { nftAddition } from "./portmap-nftables.ts";

const mapping = (hostPort: number, containerPort: number, protocol: string, hostIP = "") => ({
  hostPort,
  containerPort,
  protocol,
  hostIP,
});
const conf = (more: object = {}) => {
  const portMappings = [
    mapping(8080, 80, "tcp"),
    mapping(8080, 81, "udp"),
    mapping(8083, 83, "tcp", "192.168.0.2"),
    mapping(8084, 84, "tcp", "0.0.0.0"),
    mapping(8085, 85, "tcp", "2001:db8:a::1"),
  ];
  const parsed = parsePortmapConf({
    name: "test",
    backend: "nftables",
    runtimeConfig: { portMappings },
    ...more,
  });
  return "obstacle" in parsed ? assert.fail(parsed.obstacle) : parsed;
};
const rules = (text: string, chain: string): readonly string[] =>
  text.split("\n").filter((line) => /^add rule ip6? cni_hostport (\w+)/.exec(line)?.[1] === chain);

test("has the chains and rules of the plugin", () => {
  const text = nftAddition(conf(), "c1", podAddress("10.0.0.2/24"));
  assert.match(text, /^add table ip cni_hostport \{ comment "CNI portmap plugin" ; \}\n/);
  assert.deepEqual(rules(text, "hostports"), [
    'add rule ip cni_hostport hostports tcp dport 8080 dnat to 10.0.0.2:80 comment "c1"',
    'add rule ip cni_hostport hostports udp dport 8080 dnat to 10.0.0.2:81 comment "c1"',
    'add rule ip cni_hostport hostports ip daddr 192.168.0.2 tcp dport 8083 dnat to 10.0.0.2:83 comment "c1"',
    'add rule ip cni_hostport hostports tcp dport 8084 dnat to 10.0.0.2:84 comment "c1"',
  ]);
  assert.deepEqual(rules(text, "masquerading"), [
    'add rule ip cni_hostport masquerading ip saddr 10.0.0.2 ip daddr 10.0.0.2 masquerade comment "c1"',
    'add rule ip cni_hostport masquerading ip saddr 127.0.0.1 ip daddr 10.0.0.2 masquerade comment "c1"',
  ]);
  assert.equal(rules(text, "prerouting").length, 1);
});

test("IPv6 without SNAT has no masquerading", () => {
  const text = nftAddition(conf({ snat: false }), "c1", podAddress("2001:db8::2/64"));
  assert.doesNotMatch(text, /masquerad|127\.0\.0\.1|192\.168/);
  assert.match(text, /ip6 daddr 2001:db8:a::1 tcp dport 8085 dnat to \[2001:db8::2\]:85/);
});
