import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { podAddress, targetAddresses } from "./pod-addresses.ts";
import { parsePortmapConf, type PortmapConf } from "./portmap-conf.ts";
import { portmapAddition, portmapRemoval } from "./portmap-rules.ts";
import { chainName, parseSavedTable, ruleLine } from "./rule-text.ts";

const conf = (portMappings: readonly object[], more: object = {}): PortmapConf => {
  const parsed = parsePortmapConf({ name: "pods", runtimeConfig: { portMappings }, ...more });
  if ("obstacle" in parsed) assert.fail(parsed.obstacle);
  return parsed;
};
const web = { hostPort: 8080, containerPort: 80, protocol: "tcp" };
const four = podAddress("10.0.0.5/24");
const six = podAddress("2001:db8::5/64");
const lines = (...args: Parameters<typeof portmapAddition>): readonly string[] =>
  portmapAddition(...args).rules.map((rule) => ruleLine("-A", rule));
const chain = chainName("pods", "c1", "DN-");

describe("names", () => {
  test("are those of the plugins' own tests", () => {
    assert.equal(chainName("test", "1234"), "CNI-2bbe0c48b91a7d1b8a6753a8");
    assert.equal(chainName("test", "1234", "PREFIX-"), "CNI-PREFIX-2bbe0c48b91a7d1b8");
  });

  test("are quoted as iptables-restore reads them", () => {
    const rule = { chain: "X", args: ["--comment", 'name: "a\\b"', "-d", "[::1]:80"] };
    assert.equal(
      ruleLine("-A", rule),
      'A X --comment "name: \\"a\\\\b\\"" -d [::1]:80'.replace(/^/, "-"),
    );
    for (const text of ["a\nb", "a\0b", "a\rb"]) {
      assert.throws(() => ruleLine("-A", { chain: "X", args: [text] }), { kind: "internal" });
    }
  });
});

describe("portmapAddition", () => {
  test("marks hairpin and localhost, translates, and jumps by port", () => {
    assert.deepEqual(lines(conf([web]), "c1", four), [
      `-A ${chain} -p tcp --dport 8080 -s 10.0.0.5/24 -j CNI-HOSTPORT-SETMARK`,
      `-A ${chain} -p tcp --dport 8080 -s 127.0.0.1 -j CNI-HOSTPORT-SETMARK`,
      `-A ${chain} -p tcp --dport 8080 -j DNAT --to-destination 10.0.0.5:80`,
      `-A CNI-HOSTPORT-DNAT -m comment --comment "dnat name: \\"pods\\" id: \\"c1\\"" -m multiport -p tcp --destination-ports 8080 -j ${chain}`,
    ]);
  });

  test("IPv6 has no localhost rule", () => {
    assert.deepEqual(lines(conf([web]), "c1", six).slice(0, -1), [
      `-A ${chain} -p tcp --dport 8080 -s 2001:db8::5/64 -j CNI-HOSTPORT-SETMARK`,
      `-A ${chain} -p tcp --dport 8080 -j DNAT --to-destination [2001:db8::5]:80`,
    ]);
  });

  test("a host IP of the other family has no translation, but its port has an entry", () => {
    const addition = lines(conf([{ ...web, hostIP: "192.0.2.1" }]), "c1", six);
    assert.equal(addition.length, 1);
    assert.match(addition[0] ?? "", /--destination-ports 8080/);
    const unspecified = lines(conf([{ ...web, hostIP: "0.0.0.0" }]), "c1", four);
    assert.deepEqual(unspecified, lines(conf([web]), "c1", four));
    const one = lines(conf([{ ...web, hostIP: "192.0.2.1" }], { snat: false }), "c1", four);
    assert.match(one[0] ?? "", /--dport 8080 -d 192\.0\.2\.1 -j DNAT/);
  });

  test("protocols are sorted, and an entry has at most 15 ports", () => {
    const many = Array.from({ length: 17 }, (_, at) => ({ ...web, hostPort: 9000 + at }));
    const entries = lines(conf([...many, { ...web, protocol: "sctp" }]), "c1", four)
      .filter((line) => line.startsWith("-A CNI-HOSTPORT-DNAT"))
      .map((line) => /-p (\w+) --destination-ports (\S+)/.exec(line)?.slice(1));
    const ports = many.map(({ hostPort }) => hostPort);
    assert.deepEqual(entries, [
      ["sctp", "8080"],
      ["tcp", ports.slice(0, 15).join(",")],
      ["tcp", ports.slice(15).join(",")],
    ]);
  });

  test("equal rules are made once", () => {
    assert.deepEqual(lines(conf([web, web]), "c1", four).length, 4);
  });

  test("the shared rules follow the mark bit, and another's chain replaces them", () => {
    const shared = (more: object): readonly string[] =>
      portmapAddition(conf([web], more), "c1", four).shared.map((rule) => ruleLine("-A", rule));
    assert.match(shared({ markMasqBit: 31 })[0] ?? "", /--set-xmark 0x80000000\/0x80000000$/);
    assert.match(shared({ markMasqBit: 0 })[1] ?? "", /--mark 0x1\/0x1 -j MASQUERADE$/);
    assert.equal(shared({ externalSetMarkChain: "OTHER" }).length, 2);
    assert.equal(shared({ snat: false }).length, 2);
    const other = lines(conf([web], { externalSetMarkChain: "OTHER" }), "c1", four);
    assert.match(other[0] ?? "", /-j OTHER$/);
  });
});

test("the record of ADD has the rules that jump to the container's chain", () => {
  const added = portmapAddition(conf([web]), "c1", four).rules.filter(
    (rule) => rule.chain !== chain,
  );
  assert.deepEqual(portmapRemoval("pods", "c1", 4, conf([web])).recorded, added);
  assert.equal(portmapRemoval("pods", "c1", 4, undefined).recorded, undefined);
});

test("host ports lead to the first address of each family that is the pod's own", () => {
  const interfaces = [{ name: "cni0" }, { name: "veth1" }, { name: "eth0", sandbox: "/n" }];
  const ips = [
    { address: "10.9.0.1/16", interface: 0 },
    { address: "10.0.0.5/24", interface: 2 },
    { address: "10.0.0.6/24", interface: 2 },
    { address: "2001:db8::5/64" },
  ];
  const found = targetAddresses({ cniVersion: "1.0.0", interfaces, ips }, "eth0");
  assert.deepEqual(
    found.map(({ ip }) => ip),
    ["10.0.0.5", "2001:db8::5"],
  );
  for (const address of ["10.0.0.5", "10.0.0.5/33", "::ffff:10.0.0.5/120", "x\n/24", 5]) {
    assert.throws(() => podAddress(address), { kind: "internal" });
  }
});

test("parseSavedTable reads what iptables-save prints", () => {
  const text =
    "# by iptables\n*nat\n:PREROUTING ACCEPT [0:0]\n:X - [0:0]\n-A X -j ACCEPT\nCOMMIT\n";
  const { chains, rules } = parseSavedTable(text);
  assert.deepEqual([...chains], ["PREROUTING", "X"]);
  assert.deepEqual(rules, ["-A X -j ACCEPT"]);
});
