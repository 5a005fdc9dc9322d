/** The annotation davit.egress, which a tenant writes, and the resolv.conf of its pod, to the input of iptables-restore. */
import assert from "node:assert/strict";
import { askedEgress } from "../../../src/core/sandbox/index.ts";
import { nameServersIn, restoreInput } from "../../../src/drivers/egress/rules.ts";
import { attempt, type FuzzTarget } from "../target.ts";

const address = String.raw`[0-9a-fA-F:.]+(/[0-9]{1,3})?`;
const ports = String.raw`( -m (tcp|udp) --dport [0-9]{1,5}(:[0-9]{1,5})?)?`;
const destination = new RegExp(`^-A DAVIT-EGRESS -d ${address}( -p (tcp|udp))?${ports} -j RETURN$`);

export const target: FuzzTarget = {
  name: "egress",
  seeds: () =>
    [
      "none",
      "dns",
      "10.0.0.0/8, 192.0.2.7:443/tcp, [2001:db8::/32]:8000-8099, dns",
      "[::ffff:10.0.0.1]/udp,0.0.0.0/0",
      "nameserver 192.0.2.53\nnameserver\t2001:db8::53 # comment\n",
    ].map((text) => Buffer.from(text)),
  words: [
    "/tcp",
    "/udp",
    "dns",
    "[::",
    "]",
    ":1-65535",
    ",",
    "nameserver ",
    "-j ACCEPT",
    "\n*nat\n",
  ],
  check: (input) => {
    const text = input.toString("latin1");
    const servers = nameServersIn(text);
    const rules = attempt(["invalid-argument"], () =>
      askedEgress({ annotations: { "davit.egress": text } }),
    );
    const all = [{ to: "dns" } as const, ...(rules ?? [])];
    for (const family of [4, 6] as const) {
      const fixed = restoreInput(family, [], []).split("\n");
      const lines = restoreInput(family, all, servers).split("\n");
      // The fixed lines are as without rules, and what is between them only allows destinations.
      const begin = fixed.findIndex((line) => line.includes("REJECT"));
      assert.deepEqual(lines.slice(0, begin), fixed.slice(0, begin));
      assert.deepEqual(lines.slice(begin - fixed.length), fixed.slice(begin));
      for (const line of lines.slice(begin, begin - fixed.length)) assert.match(line, destination);
    }
  },
};
