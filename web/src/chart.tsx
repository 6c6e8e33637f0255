import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useStore } from './store';
import { colors, paints } from './theme';

export interface Line {
  label: string;
  /** color is a custom property. */
  color: 'accent' | 'second' | 'bad';
  values: (number | null)[];
  dashed?: boolean;
}

interface Props {
  x: number[];
  lines: Line[];
  /** label describes the chart for readers who do not see it. */
  label: string;
  height: number;
  /** axes are shown unless it is a sparkline. */
  axes?: boolean;
  time?: boolean;
  points?: boolean;
  format?: (value: number) => string;
}

/** Chart draws lines, or points, over x. */
export function Chart({ x, lines, label, height, axes, time, points, format }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const paint = useStore(paints);
  const data = [x, ...lines.map((l) => l.values)] as uPlot.AlignedData;

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const palette = colors('accent', 'second', 'bad', 'muted', 'line', 'fill');
    const axis = { stroke: palette.muted, grid: { stroke: palette.line, width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' };
    const chart = new uPlot(
      {
        width: element.clientWidth || 100,
        height,
        legend: { show: false },
        cursor: { show: !!axes, y: false, points: { show: !!axes } },
        padding: axes ? [8, 8, 0, 0] : [3, 0, 2, 0],
        scales: {
          x: { time: !!time },
          y: { range: (_u, min, max) => (axes ? pad(min ?? 0, max ?? 1) : [Math.min(0, min ?? 0), max > 0 ? max * 1.1 : 1]) },
        },
        axes: axes ? [{ ...axis, incrs: whole }, { ...axis, size: 56, values: (_u, ticks) => ticks.map((v) => (format ? format(v) : String(v))) }] : [{ show: false }, { show: false }],
        series: [
          {},
          ...lines.map((line) => ({
            label: line.label,
            stroke: palette[line.color],
            width: points ? 0 : 1.5,
            dash: line.dashed ? [4, 3] : undefined,
            fill: !axes && !line.dashed && line.color === 'accent' ? palette.fill : undefined,
            paths: points ? () => null : undefined,
            points: points ? { show: true, size: 5, width: 0, fill: palette[line.color] } : { show: false },
            spanGaps: false,
          })),
        ],
      },
      data,
      element,
    );
    plot.current = chart;
    const resize = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      chart.destroy();
    };
  }, [paint, height, axes, time, points, lines.length]);

  useEffect(() => plot.current?.setData(data), [x, lines]);
  return <div class="chart" ref={host} role="img" aria-label={label} style={{ height: `${height}px` }} />;
}

/** whole are the steps of an axis of integers. */
const whole = Array.from({ length: 8 }, (_, i) => [1, 2, 5].map((n) => n * 10 ** i)).flat();

function pad(min: number, max: number): [number, number] {
  const gap = (max - min) * 0.06 || 1;
  return [min - gap, max + gap];
}
