"""The RADIUS client of the test bed: access nodes with pyrad's packets.

Timers of RFC 5080, section 2.2.1. A third of the subscribers each uses PAP, CHAP and
EAP-MD5. Each login that is accepted has accounting: start, interim updates, stop. A
login that is refused is tried again twice.

    secret NODES   so many access nodes use another shared secret than the server
"""

import asyncio
import hashlib
import os
import random

from pyrad import packet
from pyrad.dictionary import Dictionary
from sessions import PASSWORD, SECRET, Client, Node, main, radius_timeouts

OTHER_SECRET = "another"
WRONG_PASSWORD = "mistyped"
TRIES = 3  # of a login that is refused
DICTIONARIES = [f"/usr/share/freeradius/dictionary.rfc{n}" for n in (2865, 2866, 2869)]
ACCEPT, REJECT, CHALLENGE = 2, 3, 11
EAP_RESPONSE, EAP_IDENTITY, EAP_MD5 = 2, 1, 4
START, STOP, INTERIM = "Start", "Stop", "Interim-Update"


def eap_response(number, kind, data):
    size = (5 + len(data)).to_bytes(2, "big")
    return bytes([EAP_RESPONSE, number]) + size + bytes([kind]) + data


class RadiusClient(Client):
    async def open(self):
        self.dictionary = Dictionary(*DICTIONARIES)
        loop = asyncio.get_running_loop()
        self.nodes = []
        for address in self.options.nodes.split(","):
            sockets = []
            for port in (1812, 1813):
                _, node = await loop.create_datagram_endpoint(
                    lambda a=address: Node(a, 256, lambda data: data[1]),
                    local_addr=(address, 0),
                    remote_addr=(self.options.server, port),
                )
                sockets.append(node)
            self.nodes.append(sockets)
        self.wrong_nodes = 0

    def change_setting(self, name, value):
        self.wrong_nodes = int(value)  # `secret` is the only setting

    async def _exchange(self, socket, new_packet, attributes):
        """Send a request with attributes; returns the answer, or None."""
        wrong = any(socket in pair for pair in self.nodes[: self.wrong_nodes])
        secret = (OTHER_SECRET if wrong else SECRET).encode()
        requests = []

        def build(number):
            request = new_packet(number, secret)
            for name, value in attributes(request).items():
                request[name] = value
            if isinstance(request, packet.AuthPacket):
                request.add_message_authenticator()
            requests.append(request)
            return request.RequestPacket()

        def fits(data):
            reply = requests[0].CreateReply(packet=data)
            return requests[0].VerifyReply(reply, data)

        waits = radius_timeouts(self.options.timer_s)
        data = await socket.request(build, waits, fits)
        return data and packet.Packet(packet=data, dict=self.dictionary)

    async def _ask(self, node, user, credentials):
        def new_packet(number, secret):
            return packet.AuthPacket(
                id=number,
                secret=secret,
                authenticator=os.urandom(16),
                dict=self.dictionary,
            )

        def attributes(request):
            return {
                "User-Name": user,
                "NAS-IP-Address": node.address,
                "NAS-Port-Type": "Ethernet",
                **credentials(request),
            }

        return await self._exchange(node, new_packet, attributes)

    async def _login_pap(self, node, user, password):
        return await self._ask(
            node, user, lambda r: {"User-Password": r.PwCrypt(password)}
        )

    async def _login_chap(self, node, user, password):
        number, challenge = os.urandom(1), os.urandom(16)
        digest = hashlib.md5(number + password.encode() + challenge).digest()
        credentials = {
            "CHAP-Password": number + digest,
            "CHAP-Challenge": challenge,
        }
        return await self._ask(node, user, lambda _: credentials)

    async def _login_eap(self, node, user, password):
        message = eap_response(1, EAP_IDENTITY, user.encode())
        answer = await self._ask(node, user, lambda _: {"EAP-Message": message})
        if answer is None or answer.code != CHALLENGE:
            return answer
        challenge = b"".join(answer["EAP-Message"])
        number, size = challenge[1:2], challenge[5]
        digest = hashlib.md5(number + password.encode() + challenge[6 : 6 + size])
        value = bytes([16]) + digest.digest()
        credentials = {
            "EAP-Message": eap_response(number[0], EAP_MD5, value),
            "State": answer["State"][0],
        }
        return await self._ask(node, user, lambda _: credentials)

    async def _login(self, node, user):
        """Log a subscriber in; returns whether it is accepted."""
        logins = self._login_pap, self._login_chap, self._login_eap
        login = logins[int(user[-4:]) % 3]
        password = WRONG_PASSWORD if user.startswith("mistyped") else PASSWORD
        for _ in range(TRIES):
            answer = await login(node, user, password)
            if answer is None:
                return False
            if answer.code == ACCEPT:
                return True
            await asyncio.sleep(random.uniform(1, 2))
        return False

    async def _account(self, node, user, session, status):
        def new_packet(number, secret):
            return packet.AcctPacket(id=number, secret=secret, dict=self.dictionary)

        def attributes(_):
            return {
                "Acct-Status-Type": status,
                "Acct-Session-Id": session,
                "User-Name": user,
                "NAS-IP-Address": node.address,
            }

        return await self._exchange(node, new_packet, attributes)

    async def session(self, user):
        node, accounting = random.choice(self.nodes)
        if not await self._login(node, user):
            return
        session = os.urandom(4).hex()

        async def account(status):
            return await self._account(accounting, user, session, status)

        start = asyncio.ensure_future(account(START))
        await self.hold(lambda: account(INTERIM))
        await start
        await account(STOP)

    async def short_session(self, user):
        node, _ = random.choice(self.nodes)
        await self._login(node, user)

    async def keep_alive(self):
        """No access node asks whether the server is there."""


if __name__ == "__main__":
    main(RadiusClient)
