import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePortmapConf } from "./portmap-conf.ts";

const mapping = { hostPort: 8080, containerPort: 80, protocol: "tcp" };
const conf = (more: object = {}): Readonly<Record<string, unknown>> => ({
  name: "pods",
  type: "portmap",
  cniVersion: "1.0.0",
  runtimeConfig: { portMappings: [mapping] },
  ...more,
});
const obstacle = (more: object): string | undefined => {
  const parsed = parsePortmapConf(conf(more));
  return "obstacle" in parsed ? parsed.obstacle : undefined;
};
const withMapping = (more: object): string | undefined =>
  obstacle({ runtimeConfig: { portMappings: [mapping, { ...mapping, ...more }] } });

test("has the defaults of the plugin", () => {
  assert.deepEqual(parsePortmapConf(conf({ snat: null })), {
    network: "pods",
    backend: "iptables",
    snat: true,
    conditions: { 4: [], 6: [] },
    markMasqBit: 13,
    externalSetMarkChain: undefined,
    mappings: [{ ...mapping, hostIp: undefined }],
  });
  assert.deepEqual(parsePortmapConf({ name: "pods", type: "portmap" }), {
    ...parsePortmapConf(conf()),
    mappings: [],
  });
});

test("reads what the plugin knows", () => {
  const known = [
    { snat: false, markMasqBit: 0 },
    { markMasqBit: 31, backend: "iptables" },
    { externalSetMarkChain: "KUBE-MARK-MASQ" },
    { conditionsV4: ["!", "-d", "192.0.2.0/24"], conditionsV6: ["-i", "eth0"] },
    { conditionsV4: ["-m", "mark", "!", "--mark", "0x1/0xff"] },
    { backend: "nftables" },
  ];
  for (const more of known) assert.equal(obstacle(more), undefined, JSON.stringify(more));
  for (const hostIP of ["", "0.0.0.0", "192.0.2.1", "::", "2001:db8::1"]) {
    assert.equal(withMapping({ hostIP }), undefined, hostIP);
  }
});

test("an IPv6 address has the form that iptables prints", () => {
  const hostIP = "2001:DB8:0:0:0::1";
  const parsed = parsePortmapConf(
    conf({ runtimeConfig: { portMappings: [{ ...mapping, hostIP }] } }),
  );
  assert.equal("mappings" in parsed && parsed.mappings[0]?.hostIp, "2001:db8::1");
});

test("leaves unknown keys and values to the plugin", () => {
  const unknown = [
    { masqAll: true },
    { SNAT: false },
    { snat: "false" },
    { markMasqBit: 32 },
    { markMasqBit: -1 },
    { markMasqBit: 1.5 },
    { markMasqBit: 13, externalSetMarkChain: "X" },
    { backend: "firewalld" },
    { backend: "nftables", conditionsV4: ["-d", "192.0.2.0/24"] },
    { backend: "nftables", externalSetMarkChain: "X" },
    { name: "n".repeat(101) },
    { runtimeConfig: { portMappings: [mapping], bandwidth: {} } },
    { runtimeConfig: { portMappings: {} } },
    { runtimeConfig: [] },
  ];
  for (const more of unknown) assert.ok(obstacle(more), JSON.stringify(more));
});

test("nothing hostile becomes a part of a rule", () => {
  const injections = [
    "x\n-A INPUT -j ACCEPT",
    "-j",
    "-t",
    "--append",
    "--app",
    "-A",
    "x y",
    'x"',
    "x\\",
    "x;y",
    "$(x)",
    "",
    "\0",
  ];
  for (const text of injections) {
    assert.ok(obstacle({ name: text }), `name ${JSON.stringify(text)}`);
    assert.ok(obstacle({ externalSetMarkChain: text }), `chain ${JSON.stringify(text)}`);
    assert.ok(obstacle({ conditionsV4: ["-d", text] }), `condition ${JSON.stringify(text)}`);
    assert.ok(obstacle({ conditionsV6: [text] }), `condition ${JSON.stringify(text)}`);
    assert.ok(withMapping({ protocol: text }), `protocol ${JSON.stringify(text)}`);
    if (text !== "") assert.ok(withMapping({ hostIP: text }), `host IP ${JSON.stringify(text)}`);
    assert.ok(withMapping({ hostPort: text }), `port ${JSON.stringify(text)}`);
  }
  for (const port of [0, -1, 65_536, 1.5, "80", null, Number.MAX_SAFE_INTEGER]) {
    assert.ok(withMapping({ hostPort: port }), `host port ${port}`);
    assert.ok(withMapping({ containerPort: port }), `container port ${port}`);
  }
  for (const hostIP of [
    "1.2.3",
    "01.2.3.4",
    "::ffff:1.2.3.4",
    "fe80::1%eth0",
    "1.2.3.4/32",
    "localhost",
  ]) {
    assert.ok(withMapping({ hostIP }), hostIP);
  }
  for (const protocol of ["TCP", "all", "icmp", "17", null]) assert.ok(withMapping({ protocol }));
});
