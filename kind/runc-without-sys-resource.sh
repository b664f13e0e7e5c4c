#!/bin/sh
# Runs runc on a machine whose root lacks CAP_SYS_RESOURCE: removes that capability from the
# engine's request, in the bundle's config.json and in the process.json of an exec, and calls runc.
bundle=. previous='' process=''
for argument in "$@"; do
	case $previous in
	--bundle | -b) bundle=$argument ;;
	--process | -p) process=$argument ;;
	esac
	previous=$argument
done
for file in "$bundle/config.json" "$process"; do
	if [ -f "$file" ]; then sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' "$file"; fi
done
exec runc "$@"
