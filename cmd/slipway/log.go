package main

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/sirupsen/logrus"
)

// logHandler sends our own log to logrus, which the libraries use, so that there is one log in one format.
type logHandler struct{ l *logrus.Logger }

// Enabled follows --log-level.
func (h logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return h.l.IsLevelEnabled(toLogrus(level))
}

// Handle writes one record.
func (h logHandler) Handle(_ context.Context, r slog.Record) error {
	fields := logrus.Fields{}
	r.Attrs(func(a slog.Attr) bool { fields[a.Key] = a.Value.Any(); return true })
	h.l.WithFields(fields).Log(toLogrus(r.Level), r.Message)
	return nil
}

// WithAttrs and WithGroup are there for the interface; nobody here uses them.
func (h logHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup is there for the interface.
func (h logHandler) WithGroup(string) slog.Handler { return h }

func toLogrus(l slog.Level) logrus.Level {
	switch {
	case l >= slog.LevelError:
		return logrus.ErrorLevel
	case l >= slog.LevelWarn:
		return logrus.WarnLevel
	case l >= slog.LevelInfo:
		return logrus.InfoLevel
	}
	return logrus.DebugLevel
}

// logTo sends the log to w: in colours where that is a terminal, or passes to one what it is given, unless NO_COLOR is set.
func (g *globals) logTo(w io.Writer, terminal bool) {
	plain := g.env.plain("NO_COLOR") != ""
	logrus.SetOutput(w)
	logrus.SetFormatter(once{&logrus.TextFormatter{DisableColors: plain, ForceColors: terminal && !plain}})
}

// once leaves out what storage logs as an error and returns as well: the command's last line says it.
type once struct{ logrus.Formatter }

// Format writes a line of the log.
func (o once) Format(e *logrus.Entry) ([]byte, error) {
	if strings.HasPrefix(e.Message, "While applying layer: ") {
		return nil, nil
	}
	return o.Formatter.Format(e)
}
