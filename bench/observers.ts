/** What watches a node in production: a Prometheus that scrapes, a collector of traces, and readers of events. */
import { createServer, get } from "node:http";
import type { AddressInfo } from "node:net";
import { watchEvents } from "../src/client/events.ts";
import type { Server } from "./server.ts";

const scrapeEveryMs = 10_000;

/** The configuration of a davit that is observed and serves its metrics on this address. */
export function observedConfig(collector: Collector, metricsAddress: string): readonly string[] {
  return [
    "[metrics]",
    `listen = ${JSON.stringify(metricsAddress)}`,
    "[tracing]",
    `endpoint = ${JSON.stringify(collector.endpoint)}`,
    "sampling_ratio = 0.01",
  ];
}

/** An HTTP server that accepts all traces and drops them. */
export interface Collector extends AsyncDisposable {
  readonly endpoint: string;
  /** The number of requests. */
  readonly requests: () => number;
}

/** Starts a collector on a free port. */
export async function startCollector(): Promise<Collector> {
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    request.resume();
    request.once("end", () => {
      response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    requests: () => requests,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What the observers of a davit saw. */
export interface Observed {
  readonly scrapes: number;
  readonly scrapeBytes: number;
  readonly events: number;
}

/** Scrapes every 10 s and reads the events twice, until it is stopped. */
export function observe(server: Server, metricsAddress: string): { stop(): Promise<Observed> } {
  const ending = new AbortController();
  let [scrapes, scrapeBytes, events] = [0, 0, 0];
  const scrape = (): void => {
    get(`http://${metricsAddress}/metrics`, (response) => {
      scrapes += 1;
      scrapeBytes = 0;
      response.on("data", (chunk: Buffer) => {
        scrapeBytes += chunk.length;
      });
    }).once("error", () => undefined);
  };
  scrape();
  const timer = setInterval(scrape, scrapeEveryMs);
  const read = async (): Promise<void> => {
    try {
      // Rows start the server again, which then has another client.
      const client = {
        get runtime() {
          return server.client.runtime;
        },
      };
      for await (const { kind } of watchEvents(client, { signal: ending.signal })) {
        if (kind === "event") events += 1;
      }
    } catch (error) {
      if (!ending.signal.aborted) throw error;
    }
  };
  const readers = Promise.all([read(), read()]);
  return {
    async stop() {
      clearInterval(timer);
      ending.abort();
      await readers;
      return { scrapes, scrapeBytes, events };
    },
  };
}
