import { useEffect, useReducer, useRef, useState } from 'preact/hooks';
import { useStore } from './store';
import { paints } from './theme';

export type Draw = (context: CanvasRenderingContext2D, width: number, height: number) => void;

interface Props {
  height: number;
  /** label describes the picture for readers who do not see it. */
  label: string;
  draw: Draw;
  /** at describes what is at a point. */
  at?: (x: number, y: number, width: number, height: number) => string | null;
}

/** Canvas is a drawing that fits the width, the density of the screen and the theme. */
export function Canvas({ height, label, draw, at }: Props) {
  const ref = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [text, setText] = useState<string | null>(null);
  const paint = useStore(paints);
  useEffect(() => {
    const canvas = ref.current;
    if (!canvas) return;
    const resize = new ResizeObserver(() => setWidth(canvas.clientWidth));
    resize.observe(canvas);
    return () => resize.disconnect();
  }, []);
  useEffect(() => {
    const canvas = ref.current;
    const context = canvas?.getContext('2d');
    if (!canvas || !context || width === 0) return;
    const scale = devicePixelRatio;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    context.scale(scale, scale);
    draw(context, width, height);
  }, [width, height, draw, paint]);
  return (
    <figure class="canvas">
      <canvas
        ref={ref}
        role="img"
        aria-label={label}
        style={{ height: `${height}px` }}
        onPointerMove={(e) => at && setText(at(e.offsetX, e.offsetY, width, height))}
        onPointerLeave={() => setText(null)}
      />
      {at && <figcaption>{text ?? label}</figcaption>}
    </figure>
  );
}

/** useClock renders again after each interval while it is active. */
export function useClock(interval: number, active: boolean): number {
  const [, tick] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    if (!active) return;
    const timer = setInterval(() => tick(undefined), interval);
    return () => clearInterval(timer);
  }, [interval, active]);
  return Date.now();
}

/** ramp returns a color between the first and the last of a list. */
export function ramp(stops: string[], share: number): string {
  const parsed = stops.map((s) => s.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0]);
  const at = Math.min(0.9999, Math.max(0, share)) * (parsed.length - 1);
  const i = Math.floor(at);
  const mix = parsed[i].slice(0, 3).map((c, k) => Math.round(c + (parsed[i + 1][k] - c) * (at - i)));
  return `rgb(${mix.join(' ')})`;
}
