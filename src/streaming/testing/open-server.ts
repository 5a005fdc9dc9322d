import { silentLogger } from "../../base/logger.ts";
import { type Clock, systemClock } from "../../base/time.ts";
import { StreamingServer, type StreamingSettings } from "../index.ts";
import { FakeTargets, type Programs } from "./fake-targets.ts";

/** The defaults of the configuration. */
export const settings: StreamingSettings = {
  address: "127.0.0.1",
  port: 0,
  tls: false,
  tlsCertFile: "",
  tlsKeyFile: "",
  idleTimeoutSeconds: 4 * 60 * 60,
  creationTimeoutSeconds: 30,
};

/** A server on a free port of the loopback, with targets in memory. */
export async function openServer(
  about: {
    config?: Partial<StreamingSettings>;
    programs?: Programs;
    clock?: Clock;
    tokenTimeoutMs?: number;
  } = {},
): Promise<{ server: StreamingServer; targets: FakeTargets } & AsyncDisposable> {
  const targets = new FakeTargets(about.programs);
  const server = await StreamingServer.open({
    config: { ...settings, ...about.config },
    targets,
    log: silentLogger,
    clock: about.clock ?? systemClock,
    ...(about.tokenTimeoutMs === undefined ? {} : { tokenTimeoutMs: about.tokenTimeoutMs }),
  });
  return { server, targets, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}
