import { readlinkSync } from "node:fs";
import { basename } from "node:path";

import type { DeviceFigures } from "../../core/stats/index.ts";

/** The name of a block device for people. */
export type NameDevice = (major: number, minor: number) => string;

/** A container uses few devices; a broken driver must not fill an answer. */
const maxDevices = 256;
/** The numbers of a removed device are used again. */
const namesMs = 60_000;

interface MutableFigures extends DeviceFigures {
  readonly bytes: Map<string, bigint>;
  readonly requests: Map<string, bigint>;
}

/** Names of devices from sysfs, read once a minute. */
export class DeviceNames {
  readonly #names = new Map<string, string>();
  readonly #nowMs: () => number;
  #since = 0;

  /** `nowMs` is monotonic. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** `/dev/sda`, or `8:0` for a device without a name. */
  readonly nameOf: NameDevice = (major, minor) => {
    const now = this.#nowMs();
    if (now - this.#since >= namesMs) {
      this.#names.clear();
      this.#since = now;
    }
    const numbers = `${String(major)}:${String(minor)}`;
    const known = this.#names.get(numbers);
    if (known !== undefined) return known;
    const name = readName(numbers);
    this.#names.set(numbers, name);
    return name;
  };
}

/** The link ends with the name of the device, which has "!" for each "/" (linux/Documentation, sysfs-block). */
function readName(numbers: string): string {
  try {
    return `/dev/${basename(readlinkSync(`/sys/dev/block/${numbers}`)).replaceAll("!", "/")}`;
  } catch {
    return numbers;
  }
}

/** The io.stat of cgroup v2: a device with its counters on each line; some kernels write lines without counters. */
export function parseIoStat(
  text: string | null | undefined,
  nameDevice: NameDevice,
): readonly DeviceFigures[] {
  const devices = new Map<string, MutableFigures>();
  for (const line of (text ?? "").split("\n")) {
    const [numbers = "", ...counters] = line.split(" ");
    const count = (name: string): bigint | undefined =>
      digits(counters.find((counter) => counter.startsWith(`${name}=`))?.slice(name.length + 1));
    const [readBytes, writeBytes] = [count("rbytes"), count("wbytes")];
    const [reads, writes] = [count("rios"), count("wios")];
    if (readBytes === undefined || writeBytes === undefined) continue;
    const device = deviceOf(devices, numbers, nameDevice);
    device?.bytes.set("Read", readBytes).set("Write", writeBytes);
    device?.requests.set("Read", reads ?? 0n).set("Write", writes ?? 0n);
  }
  return [...devices.values()];
}

/** Two files of cgroup v1's blkio: `8:0 Read 4096` on each line, and the sum of all devices at the end. */
export function parseThrottleFiles(
  bytes: string | null | undefined,
  requests: string | null | undefined,
  nameDevice: NameDevice,
): readonly DeviceFigures[] {
  const devices = new Map<string, MutableFigures>();
  for (const [text, key] of [
    [bytes, "bytes"],
    [requests, "requests"],
  ] as const) {
    for (const line of (text ?? "").split("\n")) {
      const [numbers = "", operation = "", counter] = line.split(" ");
      const value = digits(counter);
      if (value !== undefined) deviceOf(devices, numbers, nameDevice)?.[key].set(operation, value);
    }
  }
  return [...devices.values()];
}

function deviceOf(
  devices: Map<string, MutableFigures>,
  numbers: string,
  nameDevice: NameDevice,
): MutableFigures | undefined {
  const known = devices.get(numbers);
  if (known !== undefined || devices.size >= maxDevices) return known;
  const [, major, minor] = /^(\d+):(\d+)$/.exec(numbers) ?? [];
  if (major === undefined || minor === undefined) return undefined;
  const device = {
    major: Number(major),
    minor: Number(minor),
    name: nameDevice(Number(major), Number(minor)),
    bytes: new Map<string, bigint>(),
    requests: new Map<string, bigint>(),
  };
  devices.set(numbers, device);
  return device;
}

function digits(text: string | undefined): bigint | undefined {
  return text !== undefined && /^\d+$/.test(text) ? BigInt(text) : undefined;
}
