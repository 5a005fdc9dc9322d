import { randomFillSync } from "node:crypto";

/** The value of an attribute. Integers are sent as integers. */
export type AttributeValue = string | number | boolean;

/** A span that has ended. Times are milliseconds since 1970, with fractions. */
export interface Span {
  /** 16 bytes. */
  readonly traceId: Uint8Array;
  /** 8 bytes. */
  readonly spanId: Uint8Array;
  /** Undefined for the first span of a trace. */
  readonly parentId: Uint8Array | undefined;
  /** Whether the parent is a span of another process. */
  readonly isParentRemote: boolean;
  /** The client's `tracestate`; empty without one. */
  readonly traceState: string;
  readonly name: string;
  readonly kind: "server" | "internal";
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, AttributeValue>>;
  /** Why it failed. */
  readonly error?: string | undefined;
}

/** Takes spans when they have ended. */
export interface SpanSink {
  /** Never throws and never waits. */
  add(span: Span): void;
}

// The ids of a few hundred spans for one system call.
const pool = new Uint8Array(4096);
let used = pool.length;

function randomId(bytes: number): Uint8Array {
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const id = pool.slice(used, used + bytes);
  used += bytes;
  // All zeros mean "none".
  return id.some((byte) => byte !== 0) ? id : randomId(bytes);
}

/** A new random id for a trace. */
export function newTraceId(): Uint8Array {
  return randomId(16);
}

/** A new random id for a span. */
export function newSpanId(): Uint8Array {
  return randomId(8);
}

/** A clock with fractions of a millisecond that follows the machine's. Milliseconds since 1970. */
export function preciseClock(): () => number {
  let offsetMs = Date.now() - performance.now();
  return () => {
    const [now, wall] = [performance.now() + offsetMs, Date.now()];
    // Date.now() has no fractions. A larger difference means that the machine's clock was set.
    if (now >= wall && now < wall + 1) return now;
    offsetMs += wall - now;
    return wall;
  };
}
