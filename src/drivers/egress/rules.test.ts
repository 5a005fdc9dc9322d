import assert from "node:assert/strict";
import { test } from "node:test";
import { askedEgress } from "../../core/sandbox/index.ts";
import { nameServersIn, restoreInput } from "./rules.ts";

const rulesOf = (text: string) => askedEgress({ annotations: { "davit.egress": text } }) ?? [];

test("restoreInput() allows the pod itself, established connections and the destinations, and rejects the rest", () => {
  const rules = rulesOf("10.0.0.0/8, 192.0.2.1/udp, 192.0.2.7:443/tcp, [2001:db8::/32]:80-99, dns");
  assert.equal(
    restoreInput(4, rules, ["192.0.2.53", "fd00::53"]),
    `*filter
:DAVIT-EGRESS - [0:0]
-I OUTPUT 1 -j DAVIT-EGRESS
-A DAVIT-EGRESS -o lo -j RETURN
-A DAVIT-EGRESS -m conntrack --ctstate ESTABLISHED -j RETURN
-A DAVIT-EGRESS -d 10.0.0.0/8 -j RETURN
-A DAVIT-EGRESS -d 192.0.2.1 -p udp -j RETURN
-A DAVIT-EGRESS -d 192.0.2.7 -p tcp -m tcp --dport 443:443 -j RETURN
-A DAVIT-EGRESS -d 192.0.2.53 -p tcp -m tcp --dport 53 -j RETURN
-A DAVIT-EGRESS -d 192.0.2.53 -p udp -m udp --dport 53 -j RETURN
-A DAVIT-EGRESS -p tcp -j REJECT --reject-with tcp-reset
-A DAVIT-EGRESS -j REJECT --reject-with icmp-admin-prohibited
COMMIT
`,
  );
  const ofIpv6 = restoreInput(6, rules, ["192.0.2.53", "fd00::53"]).split("\n");
  assert.deepEqual(ofIpv6.slice(-9, -1), [
    "-A DAVIT-EGRESS -d ff02::/16 -p ipv6-icmp -m icmp6 --icmpv6-type 143 -j RETURN",
    "-A DAVIT-EGRESS -d 2001:db8::/32 -p tcp -m tcp --dport 80:99 -j RETURN",
    "-A DAVIT-EGRESS -d 2001:db8::/32 -p udp -m udp --dport 80:99 -j RETURN",
    "-A DAVIT-EGRESS -d fd00::53 -p tcp -m tcp --dport 53 -j RETURN",
    "-A DAVIT-EGRESS -d fd00::53 -p udp -m udp --dport 53 -j RETURN",
    "-A DAVIT-EGRESS -p tcp -j REJECT --reject-with tcp-reset",
    "-A DAVIT-EGRESS -j REJECT --reject-with icmp6-adm-prohibited",
    "COMMIT",
  ]);
  assert.ok(!ofIpv6.some((line) => /10\.0|192\.0/.test(line)));
});

test("nameServersIn() finds addresses, and nothing that is more than an address", () => {
  const text = [
    "# nameserver 192.0.2.1",
    "search nameserver 192.0.2.2",
    "nameserver 192.0.2.3",
    "nameserver\tfd00::53  # comment",
    " nameserver 192.0.2.4",
    "nameserver fe80::1%eth0",
    "nameserver 192.0.2.5;-j",
    "nameserver",
    "nameservers 192.0.2.6",
  ].join("\n");
  assert.deepEqual(nameServersIn(text), ["192.0.2.3", "fd00::53", "192.0.2.4"]);
});
