import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { askedEgress } from "../../core/sandbox/index.ts";
import { run } from "../../linux/process/index.ts";
import { IptablesEgress } from "./iptables-egress.ts";

const name = `davit-egress-${process.pid}`;
const netnsPath = `/run/netns/${name}`;
const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
const never = new AbortController().signal;

async function output(file: string, ...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run({ file, args, env, timeoutMs: 10_000 });
  assert.equal(code, 0, stderr.toString());
  return stdout.toString();
}

const saved = (program: string) => output("ip", "netns", "exec", name, program, "-t", "filter");
const request = (text: string) => ({
  sandboxId: "s1",
  netnsPath,
  rules: askedEgress({ annotations: { "davit.egress": text } }) ?? [],
  resolvConf: undefined,
});

describe("IptablesEgress", () => {
  const directory = mkdtempSync(path.join(tmpdir(), "davit-egress-"));
  before(() => output("ip", "netns", "add", name));
  after(async () => {
    await output("ip", "netns", "delete", name);
    rmSync(directory, { recursive: true });
  });

  test("fails closed without a program, and says what to install", async () => {
    const searchPath = path.join(directory, "empty");
    const message = /"s1" by ip6tables-restore: the program is missing; install the package iptab/;
    const limit = new IptablesEgress({ searchPath }).limit(request("none"), never);
    await assert.rejects(limit, { kind: "failed-precondition", message });
    const four = new IptablesEgress({ searchPath, hasIpv6: () => false });
    await assert.rejects(four.limit(request("none"), never), { message: /by iptables-restore/ });
  });

  test("fails if a program does, with what it said, and if it hangs", async () => {
    const file = path.join(directory, "ip6tables-restore");
    writeFileSync(file, "#!/bin/sh\necho no REJECT here >&2\nexit 3\n", { mode: 0o755 });
    const egress = new IptablesEgress({ searchPath: `${directory}:/usr/bin:/bin` });
    const message = /exit code 3: no REJECT here; .*davit\.egress/;
    await assert.rejects(egress.limit(request("none"), never), { message });
    writeFileSync(file, "#!/bin/sh\nexec sleep 1000\n", { mode: 0o755 });
    const signal = AbortSignal.timeout(300);
    await assert.rejects(egress.limit(request("none"), signal), { kind: "canceled" });
  });

  test("fails for a namespace that is gone", async () => {
    const gone = { ...request("none"), netnsPath: `${netnsPath}-gone` };
    const message = /^limit the egress of sandbox "s1" by ip6tables-restore: (?!the program)/;
    await assert.rejects(new IptablesEgress().limit(gone, never), { message });
  });

  test("leaves the rules of others in the namespace, and reads the name servers", async () => {
    await output("ip", "netns", "exec", name, "iptables", "-A", "OUTPUT", "-d", "192.0.2.99");
    const resolvConf = path.join(directory, "resolv.conf");
    writeFileSync(resolvConf, "nameserver 192.0.2.53\nnameserver 2001:db8::53\n");
    const limited = { ...request("10.0.0.0/8:80-90/tcp, dns"), resolvConf };
    await new IptablesEgress().limit(limited, never);
    const four = (await saved("iptables-save")).split("\n").filter((line) => line.startsWith("-A"));
    assert.deepEqual(four.slice(0, 2), ["-A OUTPUT -j DAVIT-EGRESS", "-A OUTPUT -d 192.0.2.99/32"]);
    assert.ok(four.some((line) => /10\.0\.0\.0\/8 .*--dport 80:90 -j RETURN/.test(line)));
    assert.ok(four.some((line) => /192\.0\.2\.53\/32 -p udp .*--dport 53 -j RETURN/.test(line)));
    assert.match(four.at(-1) ?? "", /-j REJECT/);
    const six = await saved("ip6tables-save");
    assert.match(six, /2001:db8::53\/128 -p tcp .*--dport 53 -j RETURN/);
    assert.match(six, /-A DAVIT-EGRESS -j REJECT --reject-with icmp6-adm-prohibited/);
  });

  test("takes as many destinations as an annotation can have", async () => {
    await output("ip", "netns", "exec", name, "iptables", "-F");
    await output("ip", "netns", "exec", name, "iptables", "-X");
    const text = Array.from({ length: 256 }, (_, at) => `10.0.${at}.0/24:1-9`).join(",");
    await new IptablesEgress({ hasIpv6: () => false }).limit(request(text), never);
    assert.equal((await saved("iptables-save")).match(/-j RETURN/g)?.length, 2 * 256 + 2);
  });
});
