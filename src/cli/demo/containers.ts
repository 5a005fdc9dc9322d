import type { CriClient } from "../../client/cri-client.ts";
import { containerConfig } from "../manifest/request.ts";
import { readLog } from "../logs/read-log.ts";
import { LogPrinter } from "../logs/print-log.ts";
import type { PodManifest } from "../manifest/pod.ts";
import type { Progress } from "../output/progress.ts";
import type { Terminal } from "../output/terminal.ts";

const callMs = 60_000;

/** A container that the demo has started. */
export interface DemoContainer {
  readonly id: string;
  readonly name: string;
  readonly logPath: string;
}

/** Pulls the images of a pod's containers, makes the containers and starts them. */
export async function runContainers(
  client: CriClient,
  podSandboxId: string,
  pod: PodManifest,
  progress: Progress,
): Promise<readonly DemoContainer[]> {
  const options = { timeoutMs: callMs };
  const started: DemoContainer[] = [];
  for (const container of pod.containers) {
    await progress.step(
      `Pull ${container.image}`,
      () => client.image.pullImage({ image: { image: container.image } }, options),
      () => "made of this machine's busybox",
    );
    const config = containerConfig(container, pod.sandbox);
    const { containerId } = await progress.step(
      `Create container ${container.name}`,
      () =>
        client.runtime.createContainer(
          { podSandboxId, config, sandboxConfig: pod.sandbox },
          options,
        ),
      (answer) => answer.containerId.slice(0, 12),
    );
    await progress.step(`Start container ${container.name}`, () =>
      client.runtime.startContainer({ containerId }, options),
    );
    const { status } = await client.runtime.containerStatus({ containerId }, options);
    started.push({ id: containerId, name: container.name, logPath: status?.logPath ?? "" });
  }
  return started;
}

/** Prints what the containers write until `signal` is aborted. */
export async function showLogs(
  containers: readonly DemoContainer[],
  terminal: Terminal,
  signal: AbortSignal,
): Promise<void> {
  const follow = async ({ name, logPath }: DemoContainer): Promise<void> => {
    const hasEnded = (): Promise<boolean> => Promise.resolve(false);
    const printer = new LogPrinter(terminal, () => `  ${terminal.style.dim(`${name}:`)} `);
    for await (const lines of readLog(logPath, { follow: { hasEnded }, signal })) {
      // In the demo's story there is one stream.
      printer.print(lines.map((line) => ({ ...line, stream: "stdout" })));
    }
  };
  await Promise.all(containers.map(follow));
}
