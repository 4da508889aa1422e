# Runs before the node. Writes what must not be in a mounted Secret as it is: the cookie, which Erlang refuses unless it is
# its user's alone, and the definitions, which are made of values that the chart may not know.
set -eu
umask 077
cd /var/lib/rabbitmq

rm -f .erlang.cookie
printf %s "$ERLANG_COOKIE" >.erlang.cookie
chmod 400 .erlang.cookie

# As the inside of a JSON string.
quoted() { printf %s "$1" | sed 's/[\\"]/\\&/g'; }
user=$(quoted "$USERNAME") password=$(quoted "$PASSWORD") vhost=$(quoted "$VHOST")
cat >definitions.json <<END
{"users": [{"name": "$user", "password": "$password", "tags": "$TAGS"}],
 "vhosts": [{"name": "$vhost"}],
 "permissions": [{"user": "$user", "vhost": "$vhost", "configure": ".*", "write": ".*", "read": ".*"}]}
END
