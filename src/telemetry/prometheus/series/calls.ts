import type { Call, CallEnd } from "../../../wire/grpc/call.ts";
import { grpcOk } from "../../../wire/grpc/status.ts";
import type { Counter, Family, Histogram, Registry } from "../registry.ts";

/** The names of the gRPC status codes, by number (doc/statuscodes.md of the gRPC project, as Go spells them). */
const codeNames: readonly string[] = [
  "OK",
  "Canceled",
  "Unknown",
  "InvalidArgument",
  "DeadlineExceeded",
  "NotFound",
  "AlreadyExists",
  "PermissionDenied",
  "ResourceExhausted",
  "FailedPrecondition",
  "Aborted",
  "OutOfRange",
  "Unimplemented",
  "Internal",
  "Unavailable",
  "DataLoss",
  "Unauthenticated",
];

const bounds = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60,
] as const;

// They last as long as their client or command, so their duration is not a latency.
const endless = /\/(GetContainerEvents|Events|Logs|Hold|davit\.v1\.Containers\/Exec)$/;

interface MethodSeries {
  readonly name: string;
  /** By status code. */
  readonly codes: (Counter | undefined)[];
  /** Created with the first call, like the counters: kubelet uses few of the methods. */
  durations: Histogram | undefined;
  readonly isEndless: boolean;
}

/**
 * The calls of clients, by method and status code. Only known methods have series, whatever clients call. A call
 * costs a lookup, a count and a bucket, and allocates nothing.
 */
export class CallSeries {
  readonly #methods = new Map<string, MethodSeries>();
  readonly #calls: Family<Counter>;
  readonly #durations: Family<Histogram>;

  /** @param methods the paths of all methods */
  constructor(registry: Registry, methods: Iterable<string>, running: () => number) {
    this.#calls = registry.counter({
      name: "davit_rpc_calls_total",
      help: "CRI calls that have ended, by method and gRPC status code.",
      labels: ["method", "code"],
    });
    this.#durations = registry.histogram(
      {
        name: "davit_rpc_duration_seconds",
        help:
          "How long CRI calls took, by method. Streams of events and logs, leases, and commands with their " +
          "streams are not measured.",
        labels: ["method"],
      },
      bounds,
    );
    registry.computed(
      "gauge",
      { name: "davit_rpc_in_flight", help: "CRI calls that clients wait for." },
      () => [{ value: running() }],
    );
    const names = new Set<string>();
    for (const path of methods) {
      const method = path.slice(path.lastIndexOf("/") + 1);
      // The CRI and davit's own services may have a method of one name: Exec, and Containers/Exec.
      const name = names.has(method) ? path.slice(path.lastIndexOf(".") + 1) : method;
      names.add(name);
      const isEndless = endless.test(path);
      this.#methods.set(path, { name, codes: [], durations: undefined, isEndless });
    }
  }

  /** To be called at the end of each call. */
  readonly ended = ({ method }: Call, { code, durationMs }: CallEnd): void => {
    const series = this.#methods.get(method);
    if (series === undefined) return;
    (series.codes[code] ?? this.#counter(series, code)).add();
    if (!series.isEndless) {
      series.durations ??= this.#durations.with(series.name);
      series.durations.observe(durationMs / 1000);
    }
  };

  #counter(series: MethodSeries, code: number): Counter {
    // A ratio of failures needs the successes, also while there are none.
    if (series.codes[grpcOk] === undefined) {
      series.codes[grpcOk] = this.#calls.with(series.name, codeNames[grpcOk] ?? "");
    }
    const counter = this.#calls.with(series.name, codeNames[code] ?? "Unknown");
    series.codes[code] = counter;
    return counter;
  }
}
