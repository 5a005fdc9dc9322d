import assert from "node:assert/strict";
import { test } from "node:test";
import { ownerlessAddresses, reservationDirectories } from "./host-local.ts";
import { FixtureHost, healthyReading } from "./testing/fixture-host.ts";

const directory = "/var/lib/cni/networks/pods";

test("ownerlessAddresses() are files of addresses without an owner that nobody has just made", async () => {
  const host = new FixtureHost();
  const files: Readonly<Record<string, string>> = {
    "10.1.0.2": "",
    "10.1.0.3": "0123\r\neth0",
    "10.1.0.4": "",
    "10.1.0.5": "\0".repeat(70),
    "10.1.0.6": "0123\n",
    "10.1.0.7": "0123\r\n\0\0\0\0",
    "10.1.0.8": "\ufffdz\x01\r\neth0",
    "fd00::2": "",
    "last_reserved_ip.0": "",
    lock: "",
  };
  host.directories.set(directory, Object.keys(files));
  for (const [name, text] of Object.entries(files)) host.files.set(`${directory}/${name}`, text);
  const file = { kind: "file", mode: 0o644, inode: 9n } as const;
  host.fileInfos.set(`${directory}/10.1.0.4`, { ...file, modifiedMs: host.timeMs - 1_000 });
  assert.deepEqual(await ownerlessAddresses(host, directory), [
    "10.1.0.2",
    "10.1.0.5",
    "10.1.0.7",
    "10.1.0.8",
    "fd00::2",
  ]);
  assert.deepEqual(await ownerlessAddresses(host, "/missing"), []);
});

test("reservationDirectories() are those of host-local, by the name of the network", () => {
  const withIpam = (ipam: unknown): readonly string[] =>
    reservationDirectories({
      ...healthyReading,
      network: { ...healthyReading.network, plugins: [{ type: "bridge", config: { ipam } }] },
    });
  assert.deepEqual(reservationDirectories(healthyReading), [directory]);
  assert.deepEqual(withIpam({ type: "host-local", dataDir: "/run/cni" }), ["/run/cni/pods"]);
  for (const other of [null, undefined, { type: "dhcp" }]) assert.deepEqual(withIpam(other), []);
  assert.deepEqual(reservationDirectories({ ...healthyReading, network: undefined }), []);
});
