"""Django's own tests on PostgreSQL through psycopg 3, told one by one in the file `TOLD`."""
import json
import os
import unittest

from django.test.runner import DiscoverRunner


def one(name):
    return {"ENGINE": "django.db.backends.postgresql", "NAME": name, "HOST": "127.0.0.1", "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"], "PASSWORD": os.environ["PGPASSWORD"], "TEST": {"NAME": name}}


DATABASES = {"default": one("django"), "other": one("django_other")}
SECRET_KEY = "transparency"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False


class Told(unittest.TextTestResult):
    said = None

    def tell(self, test, outcome, error=None):
        if self.said is None:
            self.said = {}
        before = self.said.get(test.id())
        text = self._exc_info_to_string(error, test)[-20000:] if error else ""
        if before is None or before[0] == "passed":
            self.said[test.id()] = (outcome, text)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.tell(test, "passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.tell(test, "failed", err)

    def addError(self, test, err):
        super().addError(test, err)
        self.tell(test, "error", err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.tell(test, "skipped")

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.tell(test, "xfailed")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.tell(test, "xpassed")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.tell(test, "failed", err)

    def stopTest(self, test):
        super().stopTest(test)
        found = (self.said or {}).get(test.id(), ("passed", ""))
        with open(os.environ["TOLD"], "a") as file:
            file.write(json.dumps({"test": test.id(), "outcome": found[0], "said": found[1]}) + "\n")


class Runner(DiscoverRunner):
    def get_resultclass(self):
        return Told


TEST_RUNNER = "django_settings.Runner"
