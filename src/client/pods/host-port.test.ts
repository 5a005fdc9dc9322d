import assert from "node:assert/strict";
import { test } from "node:test";
import { conflicts, formatHostPort, type HostPort } from "./host-port.ts";
import { readPorts } from "./host-ports.ts";

function port(text: string): HostPort {
  const [, ip = "", number = "", protocol = ""] = /^(.*?):?(\d+)\/(\w+)$/.exec(text) ?? [];
  return { ip, port: Number(number), protocol: protocol as HostPort["protocol"] };
}

test("conflicts() requires the same protocol and port, and a common address", () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ["80/tcp", "80/tcp", true],
    ["80/tcp", "81/tcp", false],
    ["80/tcp", "80/udp", false],
    ["80/tcp", "127.0.0.1:80/tcp", true],
    ["0.0.0.0:80/tcp", "10.0.0.1:80/tcp", true],
    [":::80/tcp", "10.0.0.1:80/tcp", true],
    ["127.0.0.1:80/tcp", "10.0.0.1:80/tcp", false],
    ["127.0.0.1:80/tcp", "127.0.0.1:80/tcp", true],
    ["::ffff:127.0.0.1:80/tcp", "127.0.0.1:80/tcp", true],
    ["0:0:0:0:0:0:0:1:80/udp", "::1:80/udp", true],
    ["::1:80/udp", "::2:80/udp", false],
  ];
  for (const [one, other, expected] of cases) {
    assert.equal(conflicts(port(one), port(other)), expected, `${one} ${other}`);
    assert.equal(conflicts(port(other), port(one)), expected, `${other} ${one}`);
  }
});

test("formatHostPort() includes the address unless it is unspecified", () => {
  assert.equal(formatHostPort({ ip: "", port: 80, protocol: "tcp" }), "80/tcp");
  assert.equal(formatHostPort({ ip: "::", port: 80, protocol: "tcp" }), "80/tcp");
  assert.equal(formatHostPort({ ip: "10.0.0.1", port: 5, protocol: "udp" }), "10.0.0.1:5/udp");
  assert.equal(formatHostPort({ ip: "::1", port: 5, protocol: "sctp" }), "[::1]:5/sctp");
});

test("readPorts() parses the pod config of davit and of containerd", () => {
  const ofDavit = [{ protocol: "UDP", container_port: 1, host_port: 53, host_ip: "10.0.0.1" }];
  const ofContainerd = [{ protocol: 2, host_port: 9 }, { host_port: 80 }, { container_port: 8080 }];
  const read = (port_mappings: object) => readPorts({ config: { port_mappings } } as never);
  assert.deepEqual(read(ofDavit), [
    { protocol: "udp", port: 53, ip: "10.0.0.1", containerPort: 1 },
  ]);
  assert.deepEqual(read(ofContainerd), [
    { protocol: "sctp", port: 9, ip: "", containerPort: 9 },
    { protocol: "tcp", port: 80, ip: "", containerPort: 80 },
  ]);
  for (const other of [undefined, "text", null, [], { config: null }, { config: {} }]) {
    assert.deepEqual(readPorts(other as never), []);
  }
});
