// The resource usage of containers and pods, and the interface of its measurement. Imports the other
// nouns. Start reading with stats.ts.
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
