// The resource usage of containers and pods, and the interface of its measurement. Imports the other
// nouns. Start reading with stats.ts; figures.ts is what only the CRI's metrics have.
export type {
  CgroupFigures,
  ContainerFigures,
  CpuFigures,
  CpuThrottling,
  DeviceFigures,
  Figures,
  FileSystemFigures,
  HugePageFigures,
  MemoryFigures,
  OpenFileFigures,
  PodFigures,
  SlowFigures,
} from "./figures.ts";
export type { SandboxMeter, StatsReader } from "./reader.ts";
export type {
  ContainerStats,
  CpuUsage,
  InterfaceUsage,
  LayerUsage,
  MemoryUsage,
  NetworkUsage,
  PodStats,
  Pressure,
  PressureTimes,
  ReportedUsage,
  ResourceUsage,
  SwapUsage,
} from "./stats.ts";
