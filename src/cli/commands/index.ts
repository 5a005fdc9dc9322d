// The table of commands, from which help, completions and docs/cli.md are generated. A new command is a file
// in this directory and a line below.
import type { Command } from "../command-line/command.ts";
import { attach } from "./attach.ts";
import { checkpoint } from "./checkpoint.ts";
import { completeFor, completion } from "./completion.ts";
import { configCheck, configDefault, configShow } from "./config.ts";
import { configImportContainerd, configImportCrio } from "./config-import.ts";
import { cp } from "./cp.ts";
import { imageFsInfo, podMetrics, runtimeConfig } from "./cri-answers.ts";
import { demo } from "./demo.ts";
import { describe } from "./describe.ts";
import { doctor } from "./doctor.ts";
import { down } from "./down.ts";
import { events } from "./events.ts";
import { exec } from "./exec.ts";
import { history } from "./history.ts";
import { images } from "./images.ts";
import { imagesCheck } from "./images-check.ts";
import { importRoot } from "./import.ts";
import { inflight } from "./inflight.ts";
import { info } from "./info.ts";
import { inspect } from "./inspect.ts";
import { install } from "./install.ts";
import { kill } from "./kill.ts";
import { load } from "./load.ts";
import { logs } from "./logs.ts";
import { migrateImages } from "./migrate-images.ts";
import { migratePlan } from "./migrate-plan.ts";
import { pause, resume } from "./pause.ts";
import { pods } from "./pods.ts";
import { port } from "./port.ts";
import { portForward } from "./port-forward.ts";
import { ps } from "./ps.ts";
import { pull } from "./pull.ts";
import { reload } from "./reload.ts";
import { restart, start } from "./restart.ts";
import { restore } from "./restore.ts";
import { rm } from "./rm.ts";
import { rmi } from "./rmi.ts";
import { run } from "./run.ts";
import { save } from "./save.ts";
import { serve } from "./serve.ts";
import { serveAttached } from "./serve-attached.ts";
import { snapshots, snapshotsCreate, snapshotsRm } from "./snapshots.ts";
import { stats } from "./stats.ts";
import { stop } from "./stop.ts";
import { imagePrune, systemDf, systemPrune } from "./system.ts";
import { tag } from "./tag.ts";
import { top } from "./top.ts";
import { ui } from "./ui.ts";
import { uninstall } from "./uninstall.ts";
import { update } from "./update.ts";
import { upgradeCheck } from "./upgrade-check.ts";
import { verify } from "./verify.ts";
import { version } from "./version.ts";
import { wait } from "./wait.ts";
import { why } from "./why.ts";

/** All commands, in the order of the help. */
export const commands: readonly Command[] = [
  run,
  down,
  pods,
  ps,
  start,
  stop,
  restart,
  kill,
  pause,
  resume,
  update,
  wait,
  rm,
  checkpoint,
  restore,
  snapshots,
  snapshotsCreate,
  snapshotsRm,
  systemPrune,
  images,
  imagesCheck,
  pull,
  verify,
  load,
  importRoot,
  save,
  tag,
  rmi,
  imagePrune,
  history,
  logs,
  exec,
  attach,
  portForward,
  cp,
  inspect,
  describe,
  why,
  port,
  events,
  inflight,
  stats,
  top,
  systemDf,
  imageFsInfo,
  podMetrics,
  runtimeConfig,
  ui,
  serve,
  install,
  uninstall,
  upgradeCheck,
  reload,
  configDefault,
  configCheck,
  configShow,
  configImportContainerd,
  configImportCrio,
  migratePlan,
  migrateImages,
  doctor,
  info,
  version,
  completion,
  demo,
  serveAttached,
  completeFor(() => commands),
];
