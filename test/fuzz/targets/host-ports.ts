/** Configurations of portmap, with the host ports of a tenant's pod, and results of plugins, to the inputs of iptables-restore and nft. */
import assert from "node:assert/strict";

import fc from "fast-check";

import { podAddress } from "../../../src/drivers/cni/builtin/pod-addresses.ts";
import { parsePortmapConf } from "../../../src/drivers/cni/builtin/portmap-conf.ts";
import { nftAddition } from "../../../src/drivers/cni/builtin/portmap-nftables.ts";
import { portmapAddition } from "../../../src/drivers/cni/builtin/portmap-rules.ts";
import { ruleLine } from "../../../src/drivers/cni/builtin/rule-text.ts";
import { isObject } from "../../../src/drivers/cni/conflist.ts";
import { attempt, type FuzzTarget, jsonSeeds } from "../target.ts";

const word = String.raw`[\w.,:/+!-]+`;
const chain = String.raw`[A-Za-z0-9_][\w.-]{0,27}`;
const rules = [
  // A translation, and the mark before it.
  String.raw`-A CNI-DN-[0-9a-f]{21} -p (tcp|udp|sctp) --dport \d{1,5}( -d [0-9a-f.:]+)?( -s [0-9a-fA-F.:/]+ -j ${chain}| -j DNAT --to-destination [0-9a-fA-F.:[\]]+)`,
  // The jump to them by ports, with conditions.
  String.raw`-A CNI-HOSTPORT-DNAT -m comment --comment "dnat name: \\"[\w.-]+\\" id: \\"c1\\"" -m multiport -p (tcp|udp|sctp) --destination-ports [\d,]+( ${word}){0,32} -j CNI-DN-[0-9a-f]{21}`,
].map((pattern) => new RegExp(`^${pattern}$`));
const nft = /^(add (table|chain|rule)|flush chain) ip6? cni_hostport [\w .:[\]{}";-]+$/;
// As a condition these would be another target, table or command.
const forbidden = /^(-j|-g|--jump|--goto|-t|--table|-[ACDEFILNPRSXZ])$/;

const port = fc.oneof(
  fc.integer({ min: -1, max: 70_000 }),
  fc.constantFrom("80", null, 1.5, 1e300),
);
const text = fc.constantFrom(
  "",
  "X",
  "-j",
  "-A",
  "--jump",
  "x\ny",
  '"',
  "\\",
  "a b",
  "!",
  "-d",
  "192.0.2.0/24",
);
const conf = fc.record(
  {
    name: fc.constantFrom("pods", "a\nb", "-x", "n".repeat(200)),
    backend: fc.constantFrom("iptables", "nftables", ""),
    snat: fc.constantFrom(true, false, null, "true"),
    markMasqBit: fc.constantFrom(0, 31, 32, -1, 1.5),
    externalSetMarkChain: text,
    conditionsV4: fc.array(text, { maxLength: 3 }),
    conditionsV6: fc.array(text, { maxLength: 3 }),
    address: fc.constantFrom("10.0.0.2/24", "2001:db8::2/64", "::ffff:10.0.0.2/120", "x"),
    runtimeConfig: fc.record({
      portMappings: fc.array(
        fc.record(
          {
            hostPort: port,
            containerPort: port,
            protocol: fc.constantFrom("tcp", "udp", "sctp", "TCP", "-j"),
            hostIP: fc.constantFrom(
              "",
              "0.0.0.0",
              "::",
              "192.0.2.1",
              "2001:DB8::1",
              "1.2.3.4 -j X",
            ),
          },
          { requiredKeys: ["hostPort", "containerPort", "protocol"] },
        ),
        { maxLength: 20 },
      ),
    }),
  },
  { requiredKeys: ["name", "address", "runtimeConfig"] },
);

export const target: FuzzTarget = {
  name: "host-ports",
  seeds: () =>
    jsonSeeds(
      {
        name: "pods",
        address: "10.0.0.2/24",
        conditionsV4: ["!", "-d", "192.0.2.0/24"],
        runtimeConfig: { portMappings: [{ hostPort: 80, containerPort: 80, protocol: "tcp" }] },
      },
      {
        name: "pods",
        address: "2001:db8::2/64",
        backend: "nftables",
        runtimeConfig: {
          portMappings: [{ hostPort: 53, containerPort: 53, protocol: "udp", hostIP: "::1" }],
        },
      },
    ),
  words: ["-j ACCEPT", "\\n*nat\\n", "--jump", '\\"', "::ffff:1.2.3.4", "65535"],
  structured: conf.map((value) => Buffer.from(JSON.stringify(value))),
  check: (input) => {
    const value = parseJson(input.toString("utf8"));
    if (!isObject(value)) return;
    const { address: cidr, ...rest } = value;
    const parsed = parsePortmapConf(rest);
    const address = attempt(["internal"], () => podAddress(cidr));
    if ("obstacle" in parsed || address === undefined) return;
    const { rules: made, shared } = portmapAddition(parsed, "c1", address);
    for (const rule of [...made, ...shared]) assert.doesNotMatch(ruleLine("-A", rule), /[\n\r\0]/);
    for (const rule of made) {
      const line = ruleLine("-A", rule);
      assert.ok(
        rules.some((pattern) => pattern.test(line)),
        line,
      );
    }
    for (const condition of [...parsed.conditions[4], ...parsed.conditions[6]]) {
      assert.doesNotMatch(condition, forbidden);
    }
    const lines = nftAddition(parsed, "c1", address).trimEnd().split("\n");
    for (const line of lines) assert.match(line, nft);
  },
};

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
