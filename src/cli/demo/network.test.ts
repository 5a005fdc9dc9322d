import assert from "node:assert/strict";
import { test } from "node:test";
import { chainRemoval, chooseSubnet, temporaryConflist, portmapChains } from "./network.ts";

const HEADER =
  "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
const route = (device: string, network: string, mask: string): string =>
  `${device}\t${network}\t00000000\t0001\t0\t0\t0\t${mask}\t0\t0\t0\n`;

const subnetOf = (routes: string): string | undefined => chooseSubnet(routes)?.subnet;

/** Routes to a whole private range, such as those of podman's bridge (10.88/16) or of a VPN. */
const podman = route("podman0", "0000580A", "0000FFFF");
const vpn = [
  route("tun0", "0000000A", "000000FF"), // 10.0.0.0/8
  route("tun0", "000010AC", "0000F0FF"), // 172.16.0.0/12
  route("tun0", "0000A8C0", "0000FFFF"), // 192.168.0.0/16
];

test("chooseSubnet() chooses 10.88.77.0/24 if no route overlaps it", () => {
  const routes =
    HEADER + route("eth0", "00000000", "00000000") + route("eth0", "000200C0", "00FFFFFF");
  assert.equal(subnetOf(routes), "10.88.77.0/24");
  assert.equal(subnetOf(""), "10.88.77.0/24");
});

test("chooseSubnet() skips subnets that overlap a route, except that of the demo's bridge", () => {
  const same = route("eth1", "004D580A", "00FFFFFF"); // 10.88.77.0/24
  const inside = route("eth2", "804E580A", "80FFFFFF"); // 10.88.78.128/25
  assert.equal(subnetOf(HEADER + same), "10.88.78.0/24");
  assert.equal(subnetOf(HEADER + same + inside), "10.88.79.0/24");
  assert.equal(subnetOf(HEADER + route("davit-demo0", "004D580A", "00FFFFFF")), "10.88.77.0/24");
});

test("chooseSubnet() skips a range that a route covers, such as podman's 10.88.0.0/16", () => {
  assert.equal(subnetOf(HEADER + podman), "10.87.0.0/24");
  assert.equal(subnetOf(HEADER + vpn.slice(0, 1).join("")), "172.28.0.0/24");
  assert.equal(subnetOf(HEADER + vpn.slice(0, 2).join("")), "192.168.64.0/24");
  assert.equal(subnetOf(HEADER + vpn.join("")), "100.72.0.0/24");
  assert.equal(
    subnetOf(HEADER + vpn.join("") + route("tailscale0", "00004064", "0000C0FF")),
    "198.18.0.0/24",
  );
});

test("chooseSubnet() treats the two /1 routes of a VPN as default routes", () => {
  const halves =
    route("tun0", "00000000", "00000080") + // 0.0.0.0/1
    route("tun0", "00000080", "00000080"); // 128.0.0.0/1
  assert.equal(subnetOf(HEADER + halves), "10.88.77.0/24");
});

test("chooseSubnet() hides a part of a wide route if no range is free, but never of a narrow one", () => {
  const wide = ["00", "40", "80", "C0"].map((first) => route("tun0", `000000${first}`, "000000C0"));
  assert.deepEqual(chooseSubnet(HEADER + wide.join("") + podman), {
    subnet: "10.87.0.0/24",
    hides: "0.0.0.0/2",
  });
  const narrow = [
    route("a", "0000580A", "0000FFFF"),
    route("a", "0000570A", "0000FFFF"),
    route("a", "00001CAC", "0000FCFF"), // 172.28.0.0/14
    route("a", "0040A8C0", "00C0FFFF"), // 192.168.64.0/18
    route("a", "0080A8C0", "00C0FFFF"), // 192.168.128.0/18
    route("a", "00004864", "0000FFFF"), // 100.72.0.0/16
    route("a", "000012C6", "0000FEFF"), // 198.18.0.0/15
  ];
  assert.equal(chooseSubnet(HEADER + narrow.join("")), undefined);
});

test("temporaryConflist() keeps its addresses in the given directory and does not masquerade", () => {
  const conflist = JSON.parse(temporaryConflist("10.88.80.0/24", "/x/ipam")) as {
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

test("chainRemoval() deletes the jumps, then flushes and deletes the chains", () => {
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

test("chainRemoval() keeps chains that existed before, or that other pods use", () => {
  assert.deepEqual(chainRemoval(AFTER_DEL, CHAINS), []);
  const inUse = `${AFTER_DEL}-N CNI-DN-1\n-A CNI-HOSTPORT-DNAT -p tcp -j CNI-DN-1\n`;
  assert.deepEqual(chainRemoval(inUse, []), []);
});
