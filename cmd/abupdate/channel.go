package main

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/abupdate/abupdate/internal/bundle"
	"github.com/abupdate/abupdate/internal/bundle/source"
	"github.com/abupdate/abupdate/internal/config"
	"github.com/abupdate/abupdate/internal/update"
)

// channelRef tells whether ref names a channel, and returns where its
// channel.json is: ref itself, or in the directory that ref names with a slash
// at its end.
func channelRef(ref string) (string, bool) {
	if source.IsURL(ref) {
		u, err := url.Parse(ref)
		switch {
		case err != nil:
			return "", false // source.Open says what is wrong
		case strings.HasSuffix(u.Path, "/"):
			return beside(strings.TrimSuffix(ref, u.Fragment), bundle.ChannelName), true
		}
		return ref, strings.HasSuffix(u.Path, "/"+bundle.ChannelName)
	}
	if strings.HasSuffix(ref, "/") {
		return ref + bundle.ChannelName, true
	}
	return ref, filepath.Base(ref) == bundle.ChannelName
}

// beside is the file of that name in the directory of a channel. The query of
// an address, which may hold an access token, goes with it.
func beside(channel, name string) string {
	if u, err := url.Parse(channel); err == nil && source.IsURL(channel) {
		file := u.ResolveReference(&url.URL{Path: "./" + name})
		file.RawQuery = u.RawQuery
		return file.String()
	}
	return filepath.Join(filepath.Dir(channel), name)
}

// follow reads a channel and returns the file of it that costs the least,
// with what apply must know of it in f.
func (a *app) follow(ctx context.Context, u *update.Updater, cfg *config.Config, channel string, f *applyFlags) (ref string, err error) {
	if f.full != "" {
		return "", usagef("--full goes with a delta; a channel names the whole bundle itself")
	}
	src, err := source.Open(ctx, channel, nil, sourceOptions(cfg, int64(f.limitRate)))
	if err != nil {
		return "", err
	}
	defer src.Close()
	stream, err := src.Open(ctx, 0)
	if err != nil {
		return "", err
	}
	defer stream.Close()
	b, err := bundle.ReadChannel(stream)
	if err != nil {
		return "", err
	}
	choice, err := u.Choose(b, f.ApplyOptions)
	if err != nil {
		return "", err
	}
	f.Payload = choice.Payload
	if choice.Delta == "" {
		a.ui.Say("The channel has version %s: taking %s.", choice.Version, choice.Bundle)
		return beside(channel, choice.Bundle), nil
	}
	a.ui.Say("The channel has version %s: taking the delta %s.", choice.Version, choice.Delta)
	f.full = beside(channel, choice.Bundle)
	return beside(channel, choice.Delta), nil
}
