/** One line on stderr while something takes its time: a bar in a terminal, words elsewhere. */
import { basename } from 'node:path';
import { SingleBar } from 'cli-progress';
import type { LoadProgress } from '../index.js';
import type { Output } from './context.js';

export interface ProgressLine {
  update(progress: LoadProgress): void;
  /** Ends the line: with what was loaded, or after an error with nothing more. */
  end(done: boolean): void;
}

export function progressLine(model: string, stream: Output): ProgressLine {
  const name = basename(model);
  const started = performance.now();
  let loaded = 0;
  if (!stream.isTTY) {
    stream.write(`Loading ${name} ...`);
    return {
      update: ({ bytesDone }) => {
        loaded = bytesDone;
      },
      end: (done) => {
        stream.write(done ? ` ${summary(loaded, started)}\n` : '\n');
      },
    };
  }
  const bar = newBar(stream, `Loading ${name} {bar} {percentage}% {file}`);
  bar.start(1, 0, { file: '' });
  return {
    update: ({ bytesDone, bytesTotal, file }) => {
      loaded = bytesDone;
      bar.setTotal(Math.max(bytesTotal, 1));
      bar.update(bytesDone, { file: file ?? '' });
    },
    end: (done) => {
      bar.stop();
      if (done) stream.write(`Loaded ${name}: ${summary(loaded, started)}\n`);
    },
  };
}

/** Steps of known number, such as requests. Nothing is written where there is no terminal, or it is `hidden`. */
export function countingBar(stream: Output, what: string, total: number, hidden: boolean) {
  if (!stream.isTTY || hidden) return { step: () => {}, stop: () => {} };
  const bar = newBar(stream, `{bar} {value}/{total} ${what}, {eta_formatted} left`);
  bar.start(total, 0);
  return { step: () => bar.increment(), stop: () => bar.stop() };
}

function newBar(stream: Output, format: string): SingleBar {
  return new SingleBar({ stream, format, clearOnComplete: true, hideCursor: true, barsize: 24 });
}

function summary(bytes: number, started: number): string {
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  return `${(bytes / 1e6).toFixed(1)} MB in ${seconds} s`;
}
