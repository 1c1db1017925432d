#!/bin/sh
# The one required check of the appliance itself.
[ "$(cat /usr/lib/tiny/variant)" != unhealthy ]
