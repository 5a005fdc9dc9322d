import { constants } from "node:os";
import process from "node:process";
import { RuntimeError } from "../../base/errors.ts";
import { loadConfig } from "../../config/load.ts";
import type { Daemon } from "../../daemon/process/run.ts";
import { exitNow } from "../../linux/process/index.ts";
import type { Command } from "../command-line/command.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { DEFAULT_CONFIG_FILE, findConfigFile, loadConfigOrTell } from "./config-file.ts";
import { onStopSignals } from "../stop-signals.ts";

// Defined where dist/serve.cjs runs this file (start-serve.ts); the first only when there is new code to keep.
declare const keepCompiledCode: (() => Promise<void>) | undefined;
declare const discardCompiledCode: () => Promise<void>;

/** `davit serve`: the daemon, until a signal ends it. */
export const serve: Command = {
  name: "serve",
  section: "The server",
  summary: "Run the CRI server in the foreground",
  details:
    "SIGTERM and SIGINT end it and leave pods and containers running; a second signal ends it at\n" +
    "once. SIGHUP has it read log.level again; the other settings are read at its start. It logs to\n" +
    "stderr. kubelet and crictl reach it at the socket that server.listen names.",
  operands: [],
  options: {
    config: {
      value: "FILE",
      doc: `The configuration; without it ${DEFAULT_CONFIG_FILE} if that is there, else the defaults`,
      complete: "file",
    },
  },
  examples: [
    { line: "davit serve", does: "Serve with /etc/davit/davit.toml, or the defaults" },
    { line: "davit serve --config davit.toml", does: "Serve with a configuration of your own" },
  ],
  run: async ({ options, terminal, version }) => {
    const file = findConfigFile(options.text("config"));
    const config = loadConfigOrTell(file, terminal);
    if (config === undefined) return exitCode.failed;
    if (process.geteuid?.() !== 0) {
      throw new RuntimeError(
        "permission-denied",
        "start davit: namespaces, mounts and cgroups need root; run it as root",
      );
    }
    // Directories on the way to a container's root are open to the users of its user namespace; a stricter
    // mask, as hardened nodes have, would close them.
    process.umask(0o022);
    // Only here, so that the other commands do not wait for the whole daemon to be read.
    const { runDaemon } = await import("../../daemon/process/run.ts");
    const started = Promise.withResolvers<Daemon>();
    const reload = async (): Promise<void> => {
      const daemon = await started.promise;
      // Found again: the file may have been made since.
      daemon.reload(() => loadConfig(findConfigFile(options.text("config"))));
    };
    using signals = onStopSignals((signal) => exitNow(128 + constants.signals[signal]), {
      onReload: () => void reload(),
    });
    const daemon = await runDaemon(config, {
      version,
      ...(typeof discardCompiledCode === "undefined"
        ? {}
        : { compiledCode: { keep: keepCompiledCode, discard: discardCompiledCode } }),
    });
    started.resolve(daemon);
    const signal = await Promise.race([daemon.closed, signals.stopped]);
    await daemon.close(signal ?? undefined);
    // Whatever hangs in the kernel must not keep the next daemon from starting.
    return exitNow(exitCode.done);
  },
};
