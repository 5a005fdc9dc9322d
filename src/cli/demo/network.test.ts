import assert from "node:assert/strict";
import { test } from "node:test";
import { chainRemoval, demoConflist, freeSubnet, portmapChains } from "./network.ts";

const HEADER =
  "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
const route = (device: string, network: string, mask: string): string =>
  `${device}\t${network}\t00000000\t0001\t0\t0\t0\t${mask}\t0\t0\t0\n`;

test("freeSubnet() takes 10.88.77.0/24 where only others and a default route are there", () => {
  const routes =
    HEADER + route("eth0", "00000000", "00000000") + route("eth0", "000200C0", "00FFFFFF");
  assert.equal(freeSubnet(routes), "10.88.77.0/24");
  assert.equal(freeSubnet(""), "10.88.77.0/24");
});

test("freeSubnet() goes on to the next where a route overlaps, but not for the demo's bridge", () => {
  const same = route("eth1", "004D580A", "00FFFFFF"); // 10.88.77.0/24
  const inside = route("eth2", "804E580A", "80FFFFFF"); // 10.88.78.128/25
  assert.equal(freeSubnet(HEADER + same), "10.88.78.0/24");
  assert.equal(freeSubnet(HEADER + same + inside), "10.88.79.0/24");
  assert.equal(freeSubnet(HEADER + route("davit-demo0", "004D580A", "00FFFFFF")), "10.88.77.0/24");
});

test("freeSubnet() gives up where one route holds all candidates", () => {
  assert.equal(freeSubnet(HEADER + route("tun0", "0000580A", "0000FFFF")), undefined);
});

test("demoConflist() keeps its addresses in the given folder and does not masquerade", () => {
  const conflist = JSON.parse(demoConflist("10.88.80.0/24", "/x/ipam")) as {
    plugins: { type: string; ipMasq?: boolean; ipam?: { dataDir: string; ranges: unknown } }[];
  };
  const [bridge, portmap] = conflist.plugins;
  assert.equal(bridge?.ipMasq, false);
  assert.equal(bridge.ipam?.dataDir, "/x/ipam");
  assert.deepEqual(bridge.ipam.ranges, [[{ subnet: "10.88.80.0/24" }]]);
  assert.equal(portmap?.type, "portmap");
});

const AFTER_DEL = `-P PREROUTING ACCEPT
-P OUTPUT ACCEPT
-N CNI-HOSTPORT-DNAT
-N CNI-HOSTPORT-MASQ
-N CNI-HOSTPORT-SETMARK
-N OTHER
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A OTHER -j RETURN
`;
const CHAINS = ["CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK"];

test("portmapChains() finds the plugin's chains among others", () => {
  assert.deepEqual(portmapChains(AFTER_DEL), CHAINS);
});

test("chainRemoval() takes out the jumps, then empties and removes the chains", () => {
  const removal = chainRemoval(AFTER_DEL, []);
  assert.deepEqual(removal.slice(0, 3), [
    ["-D", "PREROUTING", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "CNI-HOSTPORT-DNAT"],
    ["-D", "OUTPUT", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "CNI-HOSTPORT-DNAT"],
    [
      "-D",
      "POSTROUTING",
      "-m",
      "comment",
      "--comment",
      "CNI portfwd requiring masquerade",
      "-j",
      "CNI-HOSTPORT-MASQ",
    ],
  ]);
  assert.deepEqual(removal.slice(3), [
    ...CHAINS.map((chain) => ["-F", chain]),
    ...CHAINS.map((chain) => ["-X", chain]),
  ]);
});

test("chainRemoval() leaves chains that were there before, or that pods of others use", () => {
  assert.deepEqual(chainRemoval(AFTER_DEL, CHAINS), []);
  const inUse = `${AFTER_DEL}-N CNI-DN-1\n-A CNI-HOSTPORT-DNAT -p tcp -j CNI-DN-1\n`;
  assert.deepEqual(chainRemoval(inUse, []), []);
});
