// What containers and pods use of the host, and the seam behind which it is measured. Imports the
// neighbouring nouns. Start with stats.ts.
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
  SandboxMeter,
  StatsReader,
  SwapUsage,
} from "./stats.ts";
