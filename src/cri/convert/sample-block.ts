import {
  type AddSample,
  type MetricDescriptor,
  objectLabelKeys,
  type Sample,
} from "../../engine/stats/metrics/index.ts";
import { keptFields, messageField } from "./fields.ts";
import { FieldWriter, sizeOfLength, sizeOfVarint } from "./field-writer.ts";

// Field numbers of Metric in api.proto, with wire type 2 (length-delimited) or 0 (varint).
const tag = {
  metrics: (2 << 3) | 2,
  name: (1 << 3) | 2,
  timestamp: 2 << 3,
  type: 3 << 3,
  labelValues: (4 << 3) | 2,
  value: (5 << 3) | 2,
  number: 1 << 3,
} as const;
const gauge = 1;

type Labels = Readonly<Record<(typeof objectLabelKeys)[number], string>>;

/** Interfaces have names that containers choose. */
const maxOwnLabels = 1024;
const ownLabels = new Map<string, Uint8Array>();
const heads = new WeakMap<MetricDescriptor, Uint8Array>();

/** Where a sample's time and value are, which are the last fields of its message. */
interface Slot {
  readonly metric: MetricDescriptor;
  readonly labels: readonly string[];
  /** The first byte of the time field, or of the value field when there is no time. */
  readonly at: number;
  readonly timeBytes: number;
  readonly valueBytes: number;
}

/**
 * The samples of one pod or container as Metric messages, which are field 2 of a pod and of a container. A sample has
 * 400 bytes, and a new reading changes only its time and its value: these are written into the bytes of the last reading
 * where they need as many bytes as before. Otherwise the bytes are made again.
 */
export class SampleBlock {
  readonly #objectLabels: Uint8Array;
  #slots: readonly Slot[] = [];
  #bytes: Uint8Array = new Uint8Array();
  /** The next slot; -1 when a sample does not fit into its slot. */
  #next = 0;

  /** `objectLabels` are the fields of {@link objectLabels}. */
  constructor(objectLabels: Uint8Array) {
    this.#objectLabels = objectLabels;
  }

  /** The bytes. They keep their size; a later reading may write newer times and values into them. */
  encode(addSamples: (add: AddSample) => void): Uint8Array {
    if (!this.#replaceAll(addSamples)) this.#rebuild(addSamples);
    return this.#bytes;
  }

  #replaceAll(addSamples: (add: AddSample) => void): boolean {
    this.#next = 0;
    addSamples(this.#replace);
    return this.#next === this.#slots.length;
  }

  readonly #replace: AddSample = (metric, labels, value, atNs) => {
    if (this.#next < 0) return;
    const slot = this.#slots[this.#next++];
    const time = timeOf(atNs);
    if (
      slot === undefined ||
      slot.metric !== metric ||
      slot.timeBytes !== time.length ||
      slot.valueBytes !== sizeOfValue(value) ||
      !isSame(slot.labels, labels)
    ) {
      this.#next = -1;
      return;
    }
    const bytes = this.#bytes;
    for (let index = 0; index < time.length; index++) bytes[slot.at + index] = time[index] ?? 0;
    if (value === 0n) return;
    // The value's tag, its length and the number's tag stay.
    writeVarint(bytes, slot.at + time.length + 3, value);
  };

  #rebuild(addSamples: (add: AddSample) => void): void {
    const samples: Sample[] = [];
    addSamples((metric, labels, value, atNs) => {
      samples.push({ metric, labels, value, atNs });
    });
    const sizes = samples.map((sample) => this.#sizeOf(sample));
    const writer = new FieldWriter(sizes.reduce((sum, size) => sum + nestedSize(size), 0));
    this.#slots = samples.map((sample, index) => this.#write(writer, sample, sizes[index] ?? 0));
    // With memory of their own, as all bytes that are kept.
    this.#bytes = keptFields([writer.finish()]);
  }

  #sizeOf({ metric, labels, value, atNs }: Sample): number {
    let size = headOf(metric).length + this.#objectLabels.length + timeOf(atNs).length;
    for (const label of labels) size += ownLabel(label).length;
    return size + 2 + sizeOfValue(value);
  }

  #write(writer: FieldWriter, { metric, labels, value, atNs }: Sample, size: number): Slot {
    writer.byte(tag.metrics).length(size).bytes(headOf(metric)).bytes(this.#objectLabels);
    for (const label of labels) writer.bytes(ownLabel(label));
    const [at, time, valueBytes] = [writer.written, timeOf(atNs), sizeOfValue(value)];
    // A zero is absent in proto3, but its message is not: kubelet reads it without checking that it exists.
    writer.bytes(time).byte(tag.value).length(valueBytes);
    if (value !== 0n) writer.byte(tag.number).varint(value);
    return { metric, labels, at, timeBytes: time.length, valueBytes };
  }
}

/** The labels that all samples of an object have, as fields of a Metric message. */
export function objectLabels(labels: Labels): Uint8Array {
  return keptFields(objectLabelKeys.map((key) => labelField(labels[key])));
}

/** The size of a nested message with its tag and length. */
export function nestedSize(size: number): number {
  return 1 + sizeOfLength(size) + size;
}

function isSame(some: readonly string[], others: readonly string[]): boolean {
  if (some === others) return true;
  if (some.length !== others.length) return false;
  for (let index = 0; index < some.length; index++) if (some[index] !== others[index]) return false;
  return true;
}

/** The size of the message with the value; 0 for 0. */
function sizeOfValue(value: bigint): number {
  return value === 0n ? 0 : 1 + sizeOfVarint(value);
}

const maxNumber = BigInt(Number.MAX_SAFE_INTEGER);

function writeVarint(bytes: Uint8Array, from: number, value: bigint): void {
  let at = from;
  let rest = value;
  for (; rest > maxNumber; rest >>= 7n) bytes[at++] = Number(rest & 127n) | 128;
  let small = Number(rest);
  for (; small > 127; small = Math.floor(small / 128)) bytes[at++] = (small % 128) | 128;
  bytes[at] = small;
}

const noTime: Uint8Array = new Uint8Array();
let lastTime: { readonly atNs: bigint; readonly field: Uint8Array } = { atNs: 0n, field: noTime };

/** The timestamp field; absent for 0. Samples that were read together follow each other. */
function timeOf(atNs: bigint): Uint8Array {
  if (atNs === 0n) return noTime;
  if (lastTime.atNs !== atNs) {
    const writer = new FieldWriter(1 + sizeOfVarint(atNs)).byte(tag.timestamp).varint(atNs);
    lastTime = { atNs, field: writer.finish() };
  }
  return lastTime.field;
}

/** The values of own labels repeat: operations, devices, interfaces. */
function ownLabel(value: string): Uint8Array {
  const known = ownLabels.get(value);
  if (known !== undefined) return known;
  if (ownLabels.size === maxOwnLabels) ownLabels.clear();
  const bytes = keptFields([labelField(value)]);
  ownLabels.set(value, bytes);
  return bytes;
}

/** Name and type, encoded once. */
function headOf(metric: MetricDescriptor): Uint8Array {
  const known = heads.get(metric);
  if (known !== undefined) return known;
  const name = messageField(tag.name >> 3, Buffer.from(metric.name));
  const type = metric.type === "gauge" ? [Uint8Array.of(tag.type, gauge)] : [];
  const bytes = keptFields([name, ...type]);
  heads.set(metric, bytes);
  return bytes;
}

function labelField(value: string): Uint8Array {
  return messageField(tag.labelValues >> 3, Buffer.from(value));
}
